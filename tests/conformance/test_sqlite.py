"""The SQLite broker and its stores keep to their interfaces."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from qcore.interfaces import Settings
from qcore_sqlite import SqliteSettings, make_broker, make_coordination, make_results, make_schedules
from qcore_testing import (
    BrokerContract,
    CommitContract,
    CoordinationStoreContract,
    FireContract,
    ResultStoreContract,
    ScheduleStoreContract,
)
from tests.unit.sqlite_base import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ResultStore, ScheduleStore


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Return a function that makes settings of one database for each queue, as without `sqlite.path`."""

    def make(name: str = "kit", **fields: Any) -> Settings:
        sections = {"sqlite": SqliteSettings(path=tmp_path / f"{name}.db")}
        return Settings(name=name, sections=sections, **fields)

    return make


class TestSqliteBroker(BrokerContract):
    """The SQLite broker keeps to Broker."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., Broker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: make_broker(settings(**fields))

    @pytest.fixture
    def put_raw(self, tmp_path: Path) -> Callable[[bytes], None]:
        """Return a function that inserts a body into the queue's table, as a text where it can be one."""

        def put(body: bytes) -> None:
            fill(tmp_path / "kit.db", [("queue", {"body": [body]})])

        return put


class TestSqliteResults(ResultStoreContract):
    """The SQLite store keeps to ResultStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., ResultStore]:
        """Return a maker of stores of the same results."""
        return lambda **fields: make_results(settings(**fields))

    @pytest.fixture
    def put_junk(self, tmp_path: Path) -> Callable[[bytes, str], None]:
        """Return a function that inserts rows with other types than ours."""

        def put(id_: bytes, group: str) -> None:
            junk = {"state": "done", "finished": "never", "expires": b"x", "name": b"\xff", "body": 5}
            fill(tmp_path / "kit.db", [("result", {"id": id_, "grp": group, **junk})])
            fill(tmp_path / "kit.db", [("result", {"id": [b"\xff\xfe"], "grp": group, **junk})])

        return put


class TestSqliteCoordination(CoordinationStoreContract):
    """SqliteCoordination keeps to CoordinationStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., CoordinationStore]:
        """Return a maker of stores of the same state."""
        return lambda **fields: make_coordination(settings(**fields))

    @pytest.fixture
    def put_junk(self, tmp_path: Path) -> Callable[[str], None]:
        """Return a function that inserts rows with other values than ours, others each time."""
        values: Iterator[Any] = itertools.cycle(["never", b"\xff", 9e999, -(2**63)])

        def put(key: str) -> None:
            value, barrier = next(values), -len(key) - hash(key) % 1000
            rows: list[tuple[str, dict[str, Any]]] = [
                ("flag", {"key": key, "until": value, "value": 5}),
                ("permit", {"key": key, "holder": 7, "number": value, "until": value}),
                ("permit", {"key": key, "holder": [b"holder"], "number": value, "until": value}),
                ("rate", {"key": key, "at": value, "until": value}),
                ("rate_slot", {"key": key, "holder": [b"holder"], "at": value}),
                ("barrier", {"id": barrier, "key": key, "count": value, "until": value}),
                ("barrier_member", {"barrier": barrier, "member": value, "body": 5}),
            ]
            fill(tmp_path / "kit.db", rows)

        return put


class TestSqliteSchedules(ScheduleStoreContract):
    """The SQLite store keeps to Scheduler."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., ScheduleStore]:
        """Return a maker of stores of the same schedules."""
        return lambda **fields: make_schedules(settings(**fields))

    @pytest.fixture
    def put_junk(self, tmp_path: Path) -> Callable[[str], None]:
        """Return a function that inserts rows with other types than ours."""

        def put(name: str) -> None:
            junk = {"body": 5, "next_run": "never", "active": "yes", "claimed_until": b"x"}
            fill(tmp_path / "kit.db", [("schedule", {"name": name, **junk})])
            fill(tmp_path / "kit.db", [("schedule", {"name": [b"\xff\xfe"], **junk, "next_run": 1.0})])

        return put


class TestSqliteExchange(CommitContract):
    """The SQLite broker and store keep their order in one transaction."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., Any]:
        """Return a maker of pairs."""
        return lambda **fields: (make_broker(settings(**fields)), make_results(settings(**fields)))


class TestSqliteFire(FireContract):
    """A slot's messages and its schedule are written together."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., Any]:
        """Return a maker of pairs."""
        return lambda **fields: (make_broker(settings(**fields)), make_schedules(settings(**fields)))
