"""Broker, results, schedules and coordination keep to qcore's interfaces on each database of a site."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from qcore.interfaces import Settings
from qcore_django.orm.stores import OrmBroker, OrmCoordination, OrmResults, OrmSchedules
from qcore_sql import SqlSettings
from qcore_testing import (
    BrokerContract,
    CommitContract,
    CoordinationStoreContract,
    FireContract,
    ResultStoreContract,
    ScheduleStoreContract,
    TaskTransactionContract,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_testing.contract import Outage

#: what the server does does not depend on the interpreter: on the oldest Python only
pytestmark = pytest.mark.slow

#: what MariaDB and SQLite take instead of values that are not numbers
ENDLESS = 1e300


class _Fresh:
    """A database that is new in each test."""

    @pytest.fixture(
        params=[
            "sqlite",
            pytest.param("postgresql18", marks=pytest.mark.further),
            pytest.param("mariadb", marks=pytest.mark.further),
        ]
    )
    def server(self, request: pytest.FixtureRequest) -> Any:
        """Return each kind of database; the tests of qcore-sql ask servers the same of these statements."""
        return request.getfixturevalue(request.param)

    @pytest.fixture
    def settings(self, alias: str) -> Callable[..., Settings]:
        """Return a maker of settings of one queue."""
        return lambda name="kit", **fields: Settings(name=name, sections={"orm": alias}, **fields)

    @pytest.fixture
    def insert(self, alias: str, look: Callable[..., Any]) -> Callable[..., None]:
        """Return a function that inserts a row past the plugin, of values that the database takes."""
        endless = connections[alias].vendor == "postgresql"

        def insert(table: str, **fields: Any) -> None:
            values = [
                ENDLESS if isinstance(one, float) and not (endless or math.isfinite(one)) else one
                for one in fields.values()
            ]
            names, marks = ", ".join(fields), ", ".join(["%s"] * len(values))
            look(f"INSERT INTO qcore_{table} ({names}) VALUES ({marks})", *values)  # noqa: S608 - names of this file

        return insert


class TestOrmBroker(_Fresh, BrokerContract):
    """OrmBroker keeps to Broker."""

    @pytest.fixture(params=["sqlite", "postgresql18", pytest.param("mariadb", marks=pytest.mark.further)])
    def server(self, request: pytest.FixtureRequest) -> Any:
        """Return each kind of database."""
        return request.getfixturevalue(request.param)

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., OrmBroker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: OrmBroker(settings(**fields))

    @pytest.fixture
    def restart_server(self, server: Any) -> Outage:
        """Return what kills the server for a while."""
        if not hasattr(server, "away"):
            pytest.skip("there is no server")
        found: Outage = server.away
        return found

    @pytest.fixture
    def freeze_server(self, server: Any, monkeypatch: pytest.MonkeyPatch) -> Outage:
        """Return what stops the server for a while; brokers wait a shorter time than users' do."""
        if not hasattr(server, "frozen"):
            pytest.skip("there is no server")
        short = functools.partial(SqlSettings, timeout=1.0, connect_timeout=1.0)
        monkeypatch.setattr("qcore_django.orm.address.SqlSettings", short)
        found: Outage = server.frozen
        return found


class TestOrmResults(_Fresh, ResultStoreContract):
    """OrmResults keeps to ResultStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., OrmResults]:
        """Return a maker of stores of the same results."""
        return lambda **fields: OrmResults(settings(**fields))

    @pytest.fixture
    def put_junk(self, insert: Callable[..., None]) -> Callable[[bytes, str], None]:
        """Return a function that inserts rows with values that ours never have."""

        def put(id_: bytes, group: str) -> None:
            junk = {"queue": "kit", "expires": math.nan, "name": "", "grp": group, "label": "", "body": b""}
            for name, state, finished in (
                (id_, 99, math.nan),
                (b"", -(2**31), -math.inf),
                (b"\xff" * 16, 2**31 - 1, 1e300),
            ):
                insert("result", id=name, state=state, finished=finished, **junk)

        return put


class TestOrmCommit(_Fresh, CommitContract):
    """Broker and store of one queue are written in one transaction."""

    @pytest.fixture(params=["sqlite", "postgresql18", pytest.param("mariadb", marks=pytest.mark.further)])
    def server(self, request: pytest.FixtureRequest) -> Any:
        """Return each kind of database."""
        return request.getfixturevalue(request.param)

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[OrmBroker, OrmResults]]:
        """Return a maker of pairs."""
        return lambda **fields: (OrmBroker(settings(**fields)), OrmResults(settings(**fields)))


class TestOrmTaskTransaction(_Fresh, TaskTransactionContract):
    """A task's own statements and its settlement are one transaction."""

    @pytest.fixture(params=["postgresql18", pytest.param("mariadb", marks=pytest.mark.further)])
    def server(self, request: pytest.FixtureRequest) -> Any:
        """Return each kind of server."""
        return request.getfixturevalue(request.param)

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[OrmBroker, OrmResults]]:
        """Return a maker of pairs."""
        return lambda **fields: (OrmBroker(settings(**fields)), OrmResults(settings(**fields)))


class TestOrmSqliteTaskTransaction(TestOrmTaskTransaction):
    """The same in an SQLite file."""

    shuts_out_others = True

    @pytest.fixture
    def server(self, sqlite: Any) -> Any:
        """Return a folder of databases."""
        return sqlite


class TestOrmCoordination(_Fresh, CoordinationStoreContract):
    """OrmCoordination keeps to CoordinationStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., OrmCoordination]:
        """Return a maker of stores of the same state."""
        return lambda **fields: OrmCoordination(settings(**fields))

    @pytest.fixture
    def put_junk(self, insert: Callable[..., None]) -> Callable[[str], None]:
        """Return a function that inserts rows with values that ours never have, others each time."""
        values = itertools.cycle([(math.nan, -(2**63)), (math.inf, 2**63 - 1), (1e300, 0), (-1e300, -1)])

        def put(key: str) -> None:
            seconds, number = next(values)
            of = {"queue": "kit", "item": key}
            insert("flag", **of, expires=seconds, value=b"")
            insert("permit", **of, holder=b"", number=number, expires=seconds)
            insert("permit", **of, holder=b"holder", number=number, expires=seconds)
            insert("rate", **of, due=seconds, expires=seconds)
            insert("rate_slot", **of, holder=b"holder", due=seconds, expires=seconds)
            insert("barrier", **of, expires=seconds)
            insert("barrier_member", **of, member=-(2**31), body=b"")

        return put


class TestOrmSchedules(_Fresh, ScheduleStoreContract):
    """OrmSchedules keeps to ScheduleStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., OrmSchedules]:
        """Return a maker of stores of the same schedules."""
        return lambda **fields: OrmSchedules(settings(**fields))

    @pytest.fixture
    def put_junk(self, insert: Callable[..., None]) -> Callable[[str], None]:
        """Return a function that inserts rows with values that ours never have."""

        def put(name: str) -> None:
            for other, due in ((name, math.nan), ("", -math.inf), ("\x01\u202e", 1e300)):
                row = {"queue": "kit", "name": other, "active": True, "body": b""}
                insert("schedule", **row, next_run=due, claimed_until=-math.inf)

        return put


class TestOrmFire(_Fresh, FireContract):
    """A slot's messages and its schedule are written together."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[OrmBroker, OrmSchedules]]:
        """Return a maker of pairs."""
        return lambda **fields: (OrmBroker(settings(**fields)), OrmSchedules(settings(**fields)))
