"""Broker, results, schedules and coordination keep to qcore's interfaces on each database."""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import TYPE_CHECKING, Any

import pytest

from qcore.interfaces import Settings
from qcore_sql import SqlBroker, SqlCoordination, SqlResults, SqlSchedules, SqlSettings
from qcore_testing import (
    BrokerContract,
    CommitContract,
    CoordinationStoreContract,
    FireContract,
    ResultStoreContract,
    ScheduleStoreContract,
    TaskTransactionContract,
)

from .least_rights import least

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore_testing.contract import Outage


#: 16 repeats what 18 was asked
POSTGRESQL = (pytest.param("postgresql16", marks=pytest.mark.further), "postgresql18")
#: what the server does does not depend on the interpreter: on the oldest Python only
pytestmark = pytest.mark.slow


class _Fresh:
    """A database that is new in each test."""

    @pytest.fixture(params=[*POSTGRESQL, "mariadb", pytest.param("sqlite", marks=pytest.mark.further)])
    def server(self, request: pytest.FixtureRequest) -> Any:
        """Return each kind of database."""
        return request.getfixturevalue(request.param)

    @pytest.fixture
    def url(self, server: Any, namespace: str) -> Iterator[str]:
        """Return the value of the key `sql`, of a user with the least rights where there are users."""
        if not hasattr(server, "kill"):
            yield server.url(namespace)
            return
        with least(server, namespace) as url:
            yield url

    @pytest.fixture
    def short(self) -> dict[str, float]:
        """Return settings of time limits, none unless a test asks for them."""
        return {}

    @pytest.fixture
    def settings(self, url: str, short: dict[str, float]) -> Callable[..., Settings]:
        """Return a maker of settings of one queue."""

        def make(name: str = "kit", **fields: Any) -> Settings:
            return Settings(name=name, sections={"sql": SqlSettings(url=url, **short)}, **fields)

        return make

    @pytest.fixture
    def insert(self, server: Any, url: str, namespace: str) -> Callable[..., None]:
        """Return a function that inserts a row past the plugin, of values that the database takes."""
        endless, mark = url.startswith("postgresql"), "?" if url.startswith("sqlite") else "%s"

        def insert(table: str, **fields: Any) -> None:
            values = [
                1e300 if isinstance(one, float) and not (endless or math.isfinite(one)) else one
                for one in fields.values()
            ]
            names, marks = ", ".join(fields), ", ".join([mark] * len(values))
            statement = f"INSERT INTO qcore_{table} ({names}) VALUES ({marks})"  # noqa: S608 - names of this file
            with contextlib.closing(server.connect(namespace)) as connection:
                connection.cursor().execute(statement, values)
                connection.commit()

        return insert

    @pytest.fixture
    def restart_server(self, server: Any) -> Outage:
        """Return what kills the server for a while."""
        if not hasattr(server, "away"):
            pytest.skip("there is no server")
        found: Outage = server.away
        return found

    @pytest.fixture
    def freeze_server(self, server: Any, short: dict[str, float]) -> Outage:
        """Return what stops the server for a while; who asks waits a shorter time than users' do."""
        if not hasattr(server, "frozen"):
            pytest.skip("there is no server")
        short.update(timeout=1.0, connect_timeout=1.0)
        found: Outage = server.frozen
        return found


class TestSqlBroker(_Fresh, BrokerContract):
    """SqlBroker keeps to Broker."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., SqlBroker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: SqlBroker(settings(**fields))

    @pytest.fixture
    def put_raw(self, insert: Callable[..., None]) -> Callable[[bytes], None]:
        """Return a function that inserts a body into the queue's table."""
        return lambda body: insert("message", queue="kit", due=0.0, body=body)


class TestSqlResults(_Fresh, ResultStoreContract):
    """SqlResults keeps to ResultStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., SqlResults]:
        """Return a maker of stores of the same results."""
        return lambda **fields: SqlResults(settings(**fields))

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


class TestSqlCommit(_Fresh, CommitContract):
    """Broker and store of one queue are written in one transaction."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[SqlBroker, SqlResults]]:
        """Return a maker of pairs."""
        return lambda **fields: (SqlBroker(settings(**fields)), SqlResults(settings(**fields)))


class TestSqlTaskTransaction(_Fresh, TaskTransactionContract):
    """A task's own statements and its settlement are one transaction."""

    @pytest.fixture(params=[*POSTGRESQL, "mariadb"])
    def server(self, request: pytest.FixtureRequest) -> Any:
        """Return each kind of server."""
        return request.getfixturevalue(request.param)

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[SqlBroker, SqlResults]]:
        """Return a maker of pairs."""
        return lambda **fields: (SqlBroker(settings(**fields)), SqlResults(settings(**fields)))


class TestSqliteTaskTransaction(TestSqlTaskTransaction):
    """The same in an SQLite file."""

    shuts_out_others = True

    @pytest.fixture
    def server(self, sqlite: Any) -> Any:
        """Return a folder of databases."""
        return sqlite


class TestSqlCoordination(_Fresh, CoordinationStoreContract):
    """SqlCoordination keeps to CoordinationStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., SqlCoordination]:
        """Return a maker of stores of the same state."""
        return lambda **fields: SqlCoordination(settings(**fields))

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


class TestSqlSchedules(_Fresh, ScheduleStoreContract):
    """SqlSchedules keeps to ScheduleStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., SqlSchedules]:
        """Return a maker of stores of the same schedules."""
        return lambda **fields: SqlSchedules(settings(**fields))

    @pytest.fixture
    def put_junk(self, insert: Callable[..., None]) -> Callable[[str], None]:
        """Return a function that inserts rows with values that ours never have."""

        def put(name: str) -> None:
            for other, due in ((name, math.nan), ("", -math.inf), ("\x01\u202e", 1e300)):
                row = {"queue": "kit", "name": other, "active": True, "body": b""}
                insert("schedule", **row, next_run=due, claimed_until=-math.inf)

        return put


class TestSqlFire(_Fresh, FireContract):
    """A slot's messages and its schedule are written together."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[SqlBroker, SqlSchedules]]:
        """Return a maker of pairs."""
        return lambda **fields: (SqlBroker(settings(**fields)), SqlSchedules(settings(**fields)))
