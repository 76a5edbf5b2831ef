"""What the SQLite schedule store does beyond the contract."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcore.model import StoredSchedule
from qcore_sqlite import SqliteSchedules, make_schedules
from tests.unit.sqlite_base import python, settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: claims due schedules when it gets a line, and prints their names
CLAIM = """
import sys
from pathlib import Path
from qcore_sqlite import make_schedules
from tests.unit.sqlite_base import settings_for
store = make_schedules(settings_for(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
while due := store.claim_due(100.0, 3, 60.0):
    print(*(schedule.name for schedule in due), sep="\\n")
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteSchedules]:
    """Yield an empty store."""
    store = make_schedules(settings_for(tmp_path / "queue.db"))
    yield store
    store.close()


def schedule(name: str = "nightly", next_run: float = 10.0, *, active: bool = True) -> StoredSchedule:
    """Return a schedule."""
    return StoredSchedule(name, b"sealed", next_run, active)


def advanced(before: StoredSchedule, next_run: float) -> StoredSchedule:
    """Return a schedule at another slot."""
    return msgspec.structs.replace(before, body=before.body + b"+", next_run=next_run)


def names(schedules: object) -> list[str]:
    """Return the names of schedules in the order given."""
    assert isinstance(schedules, list | tuple)
    return [one.name for one in schedules]


def test_the_longest_due_come_first(store: SqliteSchedules) -> None:
    """The longest due are claimed first; inactive schedules and those not due are not claimed."""
    for one in (
        schedule("b", 5.0),
        schedule("a", 9.0),
        schedule("c", 1.0),
        schedule("paused", 1.0, active=False),
        schedule("later", 11.0),
    ):
        store.add(one)

    assert names(store.claim_due(10.0, 2, 60.0)) == ["c", "b"]
    assert names(store.claim_due(10.0, 5, 60.0)) == ["a"]
    assert names(store.claim_due(69.0, 5, 60.0)) == ["later"]
    assert names(store.claim_due(70.0, 5, 60.0)) == ["c", "b", "a"]


def test_an_advanced_schedule_can_be_claimed_at_its_next_slot(store: SqliteSchedules) -> None:
    """Advancing a schedule ends the claim."""
    before = schedule(next_run=10.0)
    after = advanced(before, 20.0)
    store.add(before)
    store.claim_due(10.0, 1, 1000.0)

    assert store.advance(before, after)
    assert store.claim_due(20.0, 1, 60.0) == [after]


def test_a_slot_advances_once(store: SqliteSchedules) -> None:
    """A second advance or removal of the same slot changes nothing."""
    before = schedule(next_run=10.0)
    after = advanced(before, 20.0)
    store.add(before)

    assert [store.advance(before, after), store.advance(before, after), store.advance(before, None)] == [
        True,
        False,
        False,
    ]
    assert store.all() == [after]
    assert store.advance(after, None)
    assert store.all() == []


def test_a_schedule_changed_meanwhile_is_not_overwritten(store: SqliteSchedules) -> None:
    """An edit of a schedule that is firing is not overwritten by its next state."""
    before = schedule(next_run=10.0)
    edited = advanced(before, 15.0)
    store.add(before)
    store.claim_due(10.0, 1, 60.0)
    store.remove("nightly")
    store.add(edited)

    assert not store.advance(before, advanced(before, 20.0))
    assert store.all() == [edited]


def test_removing_tells_whether_there_was_one(store: SqliteSchedules) -> None:
    """Remove returns True the first time and False the second time."""
    store.add(schedule())

    assert [store.remove("nightly"), store.remove("nightly")] == [True, False]


def test_nothing_is_written_while_nothing_is_due(store: SqliteSchedules, tmp_path: Path) -> None:
    """A cluster that waits for a slot does not change the write-ahead log."""
    store.add(schedule(next_run=10.0))
    log = tmp_path / "queue.db-wal"
    before = log.read_bytes()

    assert list(store.claim_due(9.0, 5, 60.0)) == []
    assert log.read_bytes() == before


def test_two_clusters_never_fire_one_slot(store: SqliteSchedules, tmp_path: Path) -> None:
    """Each due schedule is claimed by exactly one of several processes."""
    expected = [f"every-{number:03}" for number in range(200)]
    for name in expected:
        store.add(schedule(name))
    path = tmp_path / "queue.db"

    with python(CLAIM, path) as one, python(CLAIM, path) as other:
        for cluster in (one, other):
            cluster.ready()
            cluster.go()
        claimed = one.end() + other.end()

    assert sorted(claimed) == expected


#: what SQLite lets anybody write into a column, whatever its type
VALUES = st.one_of(st.binary(max_size=20), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=9))
#: without the body of a sound schedule, which hypothesis finds among the constants of this file
ROWS = st.tuples(VALUES, VALUES, VALUES, VALUES).filter(lambda row: b"sealed" not in row)
#: as they are, and bytes as text that need not be UTF-8
WRITE = (
    "insert or ignore into schedule values (?, ?, ?, ?, 0)",
    "insert or ignore into schedule values (cast(? as text), cast(? as text), ?, ?, 0)",
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.sampled_from(WRITE), ROWS), max_size=12))
def test_nothing_in_the_file_stops_a_schedule(
    store: SqliteSchedules, tmp_path: Path, rows: list[tuple[str, tuple[object, ...]]]
) -> None:
    """Rows of any types, and text that is not UTF-8, are returned or skipped; a sound one is claimed."""
    store.add(schedule("sound"))
    with closing(sqlite3.connect(tmp_path / "queue.db")) as file, file:
        for write, row in rows:
            # SQLite makes NULL of a NaN, which no column of the table takes.
            file.execute(write, row)

    found = store.all()
    claimed: list[StoredSchedule] = []
    while due := store.claim_due(100.0, 3, 60.0):
        claimed += due

    for some in (found, claimed):
        assert [one.name for one in some if one.body == b"sealed"] == ["sound"]
    for one in found:
        store.get(one.name)
        store.advance(one, None)
    with closing(sqlite3.connect(tmp_path / "queue.db")) as file, file:
        file.execute("delete from schedule")
