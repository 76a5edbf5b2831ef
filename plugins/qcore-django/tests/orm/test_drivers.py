"""A site on MariaDB whose driver is mysqlclient, while workers connect by PyMySQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django import db
from django.db import connections

from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_django.orm.stores import OrmBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.further

MESSAGE = Outgoing(bytes(16), b"body")


class OperationalError(Exception):
    """What mysqlclient raises: no error of PyMySQL, and of the same name and numbers."""


class Failing:
    """Has the first statement that writes fail."""

    def __init__(self, *args: Any) -> None:
        self.left = [OperationalError(*args)]

    def __call__(self, execute: Any, sql: str, params: Any, many: Any, context: Any) -> Any:
        """Execute a statement, or fail."""
        if self.left and sql.startswith("INSERT"):
            error = self.left.pop()
            raise db.OperationalError(*error.args) from error
        return execute(sql, params, many, context)


@pytest.fixture
def broker(alias: str) -> Iterator[OrmBroker]:
    """Return a broker that is asked by Django's connection, which is open."""
    made = OrmBroker(Settings(name="q", sections={"orm": alias}))
    connections[alias].ensure_connection()
    yield made
    made.close()


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_a_conflict_is_repeated(broker: OrmBroker, alias: str) -> None:
    """A deadlock with another transaction does not reach whoever enqueues."""
    failing = Failing(1213, "Deadlock found when trying to get lock; try restarting transaction")

    with connections[alias].execute_wrapper(failing):
        broker.enqueue([MESSAGE])

    assert not failing.left
    assert broker.size().ready == 1


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_a_connection_that_is_lost_is_given_up(broker: OrmBroker, alias: str) -> None:
    """The call fails, and the next one has a connection that works."""
    with connections[alias].execute_wrapper(Failing(2006, "Server has gone away")):
        with pytest.raises(BackendUnavailable, match="it does not answer"):
            broker.enqueue([MESSAGE])
        assert connections[alias].connection is None
        broker.enqueue([MESSAGE])

    assert broker.size().ready == 1
