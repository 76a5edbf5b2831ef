"""The broker and the stores of qcore-sql, by connections of Django's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore_django.orm.database import OrmDatabase
from qcore_sql import SqlBroker, SqlCoordination, SqlResults, SqlSchedules

if TYPE_CHECKING:
    from qcore.interfaces import Settings


class OrmBroker(SqlBroker):
    """A queue in tables of a database of the site."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, OrmDatabase(settings))


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
