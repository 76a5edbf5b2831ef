"""Broker, results, schedules and coordination keep to qcore's interfaces on each database."""

from __future__ import annotations

import itertools
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
)

if TYPE_CHECKING:
    from collections.abc import Callable

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
    def short(self) -> dict[str, float]:
        """Return settings of time limits, none unless a test asks for them."""
        return {}

    @pytest.fixture
    def settings(self, url: str, short: dict[str, float]) -> Callable[..., Settings]:
        """Return a maker of settings of one queue."""

        def make(name: str = "kit", **fields: Any) -> Settings:
            return Settings(name=name, sections={"sql": SqlSettings(url=url, **short)}, **fields)

        return make


class TestSqlBroker(_Fresh, BrokerContract):
    """SqlBroker keeps to Broker."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., SqlBroker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: SqlBroker(settings(**fields))

    @pytest.fixture
    def restart_server(self, server: Any) -> Outage:
        """Return what kills the server for a while."""
        if not hasattr(server, "away"):
            pytest.skip("there is no server")
        found: Outage = server.away
        return found

    @pytest.fixture
    def freeze_server(self, server: Any, short: dict[str, float]) -> Outage:
        """Return what stops the server for a while; brokers wait a shorter time than users' do."""
        if not hasattr(server, "frozen"):
            pytest.skip("there is no server")
        short.update(timeout=1.0, connect_timeout=1.0)
        found: Outage = server.frozen
        return found


class TestSqlResults(_Fresh, ResultStoreContract):
    """SqlResults keeps to ResultStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., SqlResults]:
        """Return a maker of stores of the same results."""
        return lambda **fields: SqlResults(settings(**fields))

    @pytest.fixture
    def put_junk(self, look: Callable[..., list[Any]]) -> Callable[[bytes, str], None]:
        """Return a function that inserts rows with values that ours never have."""

        def put(id_: bytes, group: str) -> None:
            for number, name in enumerate((id_, b"", b"\xff" * 16)):
                look(
                    "INSERT INTO qcore_result (queue, id, state, finished, expires, name, grp, label, body)"
                    " VALUES ('kit', %s, %s, %s, 'NaN', '', %s, '', '')",
                    name, (99, -(2**31), 2**31 - 1)[number], ("NaN", "-Infinity", "1e300")[number], group,
                )  # fmt: skip

        return put


class TestSqlCommit(_Fresh, CommitContract):
    """Broker and store of one queue are written in one transaction."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[SqlBroker, SqlResults]]:
        """Return a maker of pairs."""
        return lambda **fields: (SqlBroker(settings(**fields)), SqlResults(settings(**fields)))


class TestSqlCoordination(_Fresh, CoordinationStoreContract):
    """SqlCoordination keeps to CoordinationStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., SqlCoordination]:
        """Return a maker of stores of the same state."""
        return lambda **fields: SqlCoordination(settings(**fields))

    @pytest.fixture
    def put_junk(self, look: Callable[..., list[Any]]) -> Callable[[str], None]:
        """Return a function that inserts rows with values that ours never have, others each time."""
        values = itertools.cycle([("NaN", -(2**63)), ("Infinity", 2**63 - 1), ("1e300", 0), ("-1e300", -1)])

        def put(key: str) -> None:
            seconds, number = next(values)
            of = ("kit", key)
            rows: list[tuple[str, tuple[object, ...]]] = [
                ("flag (queue, item, expires, value)", (*of, seconds, b"")),
                ("permit (queue, item, holder, number, expires)", (*of, b"", number, seconds)),
                ("permit (queue, item, holder, number, expires)", (*of, b"holder", number, seconds)),
                ("rate (queue, item, due, expires)", (*of, seconds, seconds)),
                ("rate_slot (queue, item, holder, due, expires)", (*of, b"holder", seconds, seconds)),
                ("barrier (queue, item, expires)", (*of, seconds)),
                ("barrier_member (queue, item, member, body)", (*of, -(2**31), b"")),
            ]
            for table, row in rows:
                marks = ", ".join(["%s"] * len(row))
                look(f"INSERT INTO qcore_{table} VALUES ({marks})", *row)  # noqa: S608 - names of this file

        return put


class TestSqlSchedules(_Fresh, ScheduleStoreContract):
    """SqlSchedules keeps to ScheduleStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., SqlSchedules]:
        """Return a maker of stores of the same schedules."""
        return lambda **fields: SqlSchedules(settings(**fields))

    @pytest.fixture
    def put_junk(self, look: Callable[..., list[Any]]) -> Callable[[str], None]:
        """Return a function that inserts rows with values that ours never have."""

        def put(name: str) -> None:
            for other, seconds in ((name, "NaN"), ("", "-Infinity"), ("\x01\u202e", "1e300")):
                look(
                    "INSERT INTO qcore_schedule (queue, name, next_run, active, claimed_until, body)"
                    " VALUES ('kit', %s, %s, true, '-Infinity', '')",
                    other, seconds,
                )  # fmt: skip

        return put


class TestSqlFire(_Fresh, FireContract):
    """A slot's messages and its schedule are written together."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[SqlBroker, SqlSchedules]]:
        """Return a maker of pairs."""
        return lambda **fields: (SqlBroker(settings(**fields)), SqlSchedules(settings(**fields)))
