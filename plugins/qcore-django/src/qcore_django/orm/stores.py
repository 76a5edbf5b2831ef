"""The broker and the stores of qcore-sql, by connections of Django's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore_django.orm.database import OrmDatabase
from qcore_django.orm.lent_transaction import lent
from qcore_sql import SqlBroker, SqlCoordination, SqlResults, SqlSchedules

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from qcore.interfaces import Settings


class OrmBroker(SqlBroker):
    """A queue in tables of a database of the site."""

    def __init__(self, settings: Settings) -> None:
        database = OrmDatabase(settings)
        super().__init__(settings, database)
        self._alias = database.alias

    def lend_transaction(self) -> AbstractContextManager[Connection]:
        """Lend Django's connection of this thread in a transaction, as a connection of SQLAlchemy."""
        return lent(self._alias)


class OrmResults(SqlResults):
    """Results in the same database as a queue."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, OrmDatabase(settings))


class OrmSchedules(SqlSchedules):
    """Schedules in the same database as a queue."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, OrmDatabase(settings))


class OrmCoordination(SqlCoordination):
    """The coordination store in the same database as a queue."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, OrmDatabase(settings))
