"""Coordination records in SQLite: deaths of processes, and sweeping."""

from __future__ import annotations

import itertools
import signal
import sqlite3
from typing import TYPE_CHECKING

import pytest

from qcore.coordination import BarrierMember
from qcore.errors import BackendUnavailable
from qcore_sqlite import SqliteCoordination, make_coordination
from tests.unit.sqlite_base import LONG, python, settings_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore_sqlite.coordination import SqliteCoordination

#: writes records for ever and prints a word after each round; dies at the statement that is named, if any
WORK = """
import itertools, os, signal, sys
from pathlib import Path
from qcore_sqlite import make_coordination
from qcore.coordination import BarrierMember
from tests.unit.sqlite_base import settings_for

store = make_coordination(settings_for(Path(sys.argv[1])))
process, beginning = sys.argv[2:4]

def trace(statement):
    if statement.startswith(beginning):
        os.kill(os.getpid(), signal.SIGKILL)

if beginning:
    store.get_flags(["open"])
    store._database._open.set_trace_callback(trace)
for round_number in itertools.count():
    holder = f"{process} {round_number}".encode()
    if store.acquire("permit", holder, 2, 1000.0) is None and round_number % 2:
        store.release([("permit", holder)])
    store.reserve("rate", holder, 10.0, 3)
    first = 10**6 * int(process) + 3 * round_number
    store.join_barrier([BarrierMember("barrier", first + more, holder) for more in range(3)], 1000.0)
    store.set_flag("flag", holder, 1000.0)
    if round_number % 10 == 9:
        store.join_barrier([BarrierMember(f"done {holder}", more) for more in range(5)], 1000.0)
        store.delete_barriers([f"done {holder}"])
    print("written", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the file of this test's records."""
    return tmp_path / "queue.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteCoordination]:
    """Yield the result store of the tested file."""
    store = make_coordination(settings_for(path))
    yield store
    store.close()


@pytest.fixture
def query_file(path: Path) -> Iterator[Callable[..., list[tuple[object, ...]]]]:
    """Yield a function that queries the file itself."""
    connection = sqlite3.connect(path, isolation_level=None)

    def query_rows(query: str) -> list[tuple[object, ...]]:
        return connection.execute(query).fetchall()

    yield query_rows
    connection.close()


def fill(store: SqliteCoordination, key: str, ttl: float) -> None:
    """Write a flag, a permit and a barrier."""
    store.set_flag(key, b"value", ttl)
    store.acquire(key, b"holder", 1, ttl)
    store.join_barrier([BarrierMember(key, number) for number in range(3)], ttl)


def test_prune_deletes_expired_records(
    store: SqliteCoordination,
    query_file: Callable[..., list[tuple[object, ...]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All expired rows are deleted, however many there are; valid rows stay."""
    monkeypatch.setattr("qcore_sqlite.coordination.SWEEP_BATCH", 3)
    monkeypatch.setattr("qcore_sqlite.coordination.BARRIER_BATCH", 3)
    for number in range(10):
        fill(store, f"old {number}", -1.0)
        store.reserve(f"old {number}", b"given", 1e-9, 1)
    fill(store, "kept", LONG)
    for holder in (b"given", b"waiting", b"away for a day"):
        store.reserve("kept", holder, LONG, 1)
    query_file("update rate_slot set at = at - 2 * 86400 where holder = cast('away for a day' as blob)")

    store.prune()

    for table in ("flag", "permit", "rate", "barrier"):
        assert query_file(f"select key from {table}") == [("kept",)]  # noqa: S608 - names of ours
    assert query_file("select key, holder from rate_slot") == [("kept", b"waiting")]
    assert query_file("select count(*) from barrier_member") == [(3,)]


def test_an_unused_rate_slot_is_deleted_after_a_day(
    store: SqliteCoordination, query_file: Callable[..., list[tuple[object, ...]]]
) -> None:
    """A rate slot that its holder has not used for a day is deleted; a new one is assigned."""
    for holder in (b"given", b"late", b"too late"):
        store.reserve("rate", holder, 100_000.0, 1)
    query_file("update rate_slot set at = at - 100000 - 80000 where holder = cast('late' as blob)")
    query_file("update rate_slot set at = at - 200000 - 90000 where holder = cast('too late' as blob)")

    waits = [store.reserve("rate", holder, 100_000.0, 1) for holder in (b"late", b"too late")]

    assert waits[0] == 0.0
    assert waits[1] == pytest.approx(300_000, abs=60)


def test_a_barrier_that_was_restarted_is_not_swept(store: SqliteCoordination) -> None:
    """Ids of rows are reused; only expired barriers are deleted."""
    store.join_barrier([BarrierMember("g", number) for number in range(5)], -1.0)
    store.join_barrier([BarrierMember("g", 7, b"anew")], LONG)
    store.join_barrier([BarrierMember("h", 0)], -1.0)

    store.prune()

    assert store.barrier_members("g") == {7: b"anew"}


def test_a_locked_file_raises_and_changes_nothing(path: Path) -> None:
    """Reading needs no lock; writing raises BackendUnavailable and can be repeated."""
    store = make_coordination(settings_for(path, busy_timeout=0.05))
    fill(store, "before", LONG)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin immediate")
    writers: list[Callable[[], object]] = [
        lambda: store.set_flag("flag", b"value", LONG),
        lambda: store.set_flag("before", b"", LONG),
        lambda: store.acquire("permit", b"holder", 1, LONG),
        lambda: store.release([("before", b"holder")]),
        lambda: store.reserve("rate", b"holder", 1.0, 1),
        lambda: store.join_barrier([BarrierMember("before", 9)], LONG),
        lambda: store.delete_barriers(["before"]),
    ]

    for write in writers:
        with pytest.raises(BackendUnavailable, match="is locked by another process"):
            write()
    assert store.get_flags(["before", "flag"]) == [b"value", None]
    assert store.barrier_members("before") == {0: b"", 1: b"", 2: b""}
    holder.execute("rollback")
    holder.close()
    assert store.acquire("before", b"next", 1, LONG) == b"holder"
    for write in writers:
        write()
    store.close()


@pytest.mark.parametrize(
    "beginning",
    [
        "delete from permit where key",
        "insert into permit",
        "insert or replace into rate",
        "insert or replace into rate_slot",
        "insert or ignore into barrier_member",
        "update barrier",
        "delete from barrier where",
        "commit",
    ],
)
def test_death_in_the_middle_of_a_call_changes_nothing(
    path: Path, store: SqliteCoordination, query_file: Callable[..., list[tuple[object, ...]]], beginning: str
) -> None:
    """A process that is killed between two statements has changed nothing and holds no lock."""
    store.acquire("permit", b"first", 2, LONG)

    with python(WORK, path, 1, beginning) as worker:
        worker.end()

    assert worker.process.returncode == -signal.SIGKILL
    check_tables(query_file)
    assert store.acquire("permit", b"next", 3, LONG) is None


def test_death_at_any_moment_leaves_consistent_tables(
    path: Path, store: SqliteCoordination, query_file: Callable[..., list[tuple[object, ...]]]
) -> None:
    """Processes that write at the same time are killed repeatedly, and the tables stay consistent."""
    for number in range(6):
        with python(WORK, path, 2 * number, "") as one, python(WORK, path, 2 * number + 1, "") as other:
            for _ in range(3):
                one.ready()
                other.ready()
        check_tables(query_file)

    assert store.get_flags(["flag"]) != [None]


def check_tables(query_file: Callable[..., list[tuple[object, ...]]]) -> None:
    """Check that the tables agree with each other."""
    assert query_file("pragma integrity_check") == [("ok",)]
    assert query_file("select count(*) from permit where key = 'permit' having count(*) > 2") == []
    counted = query_file("select id, count from barrier order by id")
    assert counted == query_file(
        "select barrier, count(*) from barrier_member group by barrier order by barrier"
    )
    # every call added three members, or five to a barrier that is deleted
    assert all(count % 3 == 0 or count == 5 for _, count in counted if isinstance(count, int))
    # each rate slot but the first three is kept until it comes, ten seconds after the one before
    slots = [at for (at,) in query_file("select at from rate_slot order by at") if isinstance(at, float)]
    assert [at for (at,) in query_file("select at from rate")][: len(slots)] == slots[-1:]
    assert all(10 - 1e-3 < later - earlier for earlier, later in itertools.pairwise(slots))
    assert len(slots) < 2 or slots[-1] - slots[0] == pytest.approx(10 * (len(slots) - 1), abs=1)
