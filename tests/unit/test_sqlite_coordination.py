"""What notes in SQLite do beyond the contract: whoever dies, and when they are cleared away."""

from __future__ import annotations

import itertools
import signal
import sqlite3
from typing import TYPE_CHECKING

import pytest

from qcore.coordination import BarrierMember
from qcore.errors import BackendUnavailable
from qcore_sqlite import SqliteResults, make_results
from tests.unit.sqlite_base import LONG, python, settings_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore_sqlite.coordination import SqliteCoordination

#: makes notes without end, after a word for each round; dies where a statement begins, if one is named
WORK = """
import itertools, os, signal, sys
from pathlib import Path
from qcore_sqlite import make_results
from qcore.coordination import BarrierMember
from tests.unit.sqlite_base import settings_for

notes = make_results(settings_for(Path(sys.argv[1]))).notes
name, beginning = sys.argv[2:4]

def trace(statement):
    if statement.startswith(beginning):
        os.kill(os.getpid(), signal.SIGKILL)

if beginning:
    notes.get_flags(["open"])
    notes._database._open.set_trace_callback(trace)
for turn in itertools.count():
    holder = f"{name} {turn}".encode()
    if notes.acquire("place", holder, 2, 1000.0) is None and turn % 2:
        notes.release([("place", holder)])
    notes.reserve("rate", holder, 10.0, 3)
    first = 10**6 * int(name) + 3 * turn
    notes.join_barrier([BarrierMember("gathering", first + more, holder) for more in range(3)], 1000.0)
    notes.set_flag("mark", holder, 1000.0)
    if turn % 10 == 9:
        notes.join_barrier([BarrierMember(f"done {holder}", more) for more in range(5)], 1000.0)
        notes.delete_barriers([f"done {holder}"])
    print("noted", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the notes of this test lie."""
    return tmp_path / "queue.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteResults]:
    """Yield the store whose notes are tried."""
    store = make_results(settings_for(path))
    yield store
    store.close()


@pytest.fixture
def look(path: Path) -> Iterator[Callable[..., list[tuple[object, ...]]]]:
    """Yield a function that asks the file itself."""
    connection = sqlite3.connect(path, isolation_level=None)

    def ask(query: str) -> list[tuple[object, ...]]:
        return connection.execute(query).fetchall()

    yield ask
    connection.close()


def fill(notes: SqliteCoordination, name: str, ttl: float) -> None:
    """Make a note of every kind."""
    notes.set_flag(name, b"value", ttl)
    notes.acquire(name, b"holder", 1, ttl)
    notes.join_barrier([BarrierMember(name, number) for number in range(3)], ttl)


def test_what_is_outlived_is_cleared_away_by_prune(
    store: SqliteResults, look: Callable[..., list[tuple[object, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row stays for ever, however many there are; what is still valid stays."""
    monkeypatch.setattr("qcore_sqlite.coordination.SWEEP", 3)
    monkeypatch.setattr("qcore_sqlite.coordination.GATHERINGS", 3)
    for number in range(10):
        fill(store.notes, f"old {number}", -1.0)
        store.notes.reserve(f"old {number}", b"given", 1e-9, 1)
    fill(store.notes, "kept", LONG)
    for holder in (b"given", b"waiting", b"gone for a day"):
        store.notes.reserve("kept", holder, LONG, 1)
    look("update turn set at = at - 2 * 86400 where holder = cast('gone for a day' as blob)")

    assert store.prune(-1) == 0

    for table in ("mark", "place", "rate", "gathering"):
        assert look(f"select key from {table}") == [("kept",)]  # noqa: S608 - names of ours
    assert look("select key, holder from turn") == [("kept", b"waiting")]
    assert look("select count(*) from member") == [(3,)]


def test_a_turn_that_nobody_took_is_forgotten_after_a_day(
    store: SqliteResults, look: Callable[..., list[tuple[object, ...]]]
) -> None:
    """A turn that was given, or waited for in vain for a day, is forgotten."""
    for holder in (b"given", b"late", b"too late"):
        store.notes.reserve("rate", holder, 100_000.0, 1)
    look("update turn set at = at - 100000 - 80000 where holder = cast('late' as blob)")
    look("update turn set at = at - 200000 - 90000 where holder = cast('too late' as blob)")

    waits = [store.notes.reserve("rate", holder, 100_000.0, 1) for holder in (b"late", b"too late")]

    assert waits[0] == 0.0
    assert waits[1] == pytest.approx(300_000, abs=60)


def test_a_gathering_that_began_anew_is_not_cleared_away(store: SqliteResults) -> None:
    """Numbers of rows are given out again; only what is outlived goes."""
    store.notes.join_barrier([BarrierMember("g", number) for number in range(5)], -1.0)
    store.notes.join_barrier([BarrierMember("g", 7, b"anew")], LONG)
    store.notes.join_barrier([BarrierMember("h", 0)], -1.0)

    store.notes.sweep()

    assert store.notes.barrier_members("g") == {7: b"anew"}


def test_a_locked_file_is_told_of_and_nothing_is_half_done(path: Path) -> None:
    """Who only looks needs no lock; who writes is told, and may try again."""
    store = make_results(settings_for(path, busy_timeout=0.05))
    fill(store.notes, "before", LONG)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin immediate")
    writers: list[Callable[[], object]] = [
        lambda: store.notes.set_flag("mark", b"value", LONG),
        lambda: store.notes.set_flag("before", b"", LONG),
        lambda: store.notes.acquire("place", b"holder", 1, LONG),
        lambda: store.notes.release([("before", b"holder")]),
        lambda: store.notes.reserve("rate", b"holder", 1.0, 1),
        lambda: store.notes.join_barrier([BarrierMember("before", 9)], LONG),
        lambda: store.notes.delete_barriers(["before"]),
    ]

    for write in writers:
        with pytest.raises(BackendUnavailable, match="is locked by another process"):
            write()
    assert store.notes.get_flags(["before", "mark"]) == [b"value", None]
    assert store.notes.barrier_members("before") == {0: b"", 1: b"", 2: b""}
    holder.execute("rollback")
    holder.close()
    assert store.notes.acquire("before", b"next", 1, LONG) == b"holder"
    for write in writers:
        write()
    store.close()


@pytest.mark.parametrize(
    "beginning",
    [
        "delete from place where key",
        "insert into place",
        "insert or replace into rate",
        "insert or replace into turn",
        "insert or ignore into member",
        "update gathering",
        "delete from gathering",
        "commit",
    ],
)
def test_death_in_the_middle_of_a_call_leaves_nothing_half_done(
    path: Path, store: SqliteResults, look: Callable[..., list[tuple[object, ...]]], beginning: str
) -> None:
    """Whoever is killed between two statements has done nothing, and holds no lock."""
    store.notes.acquire("place", b"first", 2, LONG)

    with python(WORK, path, 1, beginning) as worker:
        worker.end()

    assert worker.process.returncode == -signal.SIGKILL
    sound(look)
    assert store.notes.acquire("place", b"next", 3, LONG) is None


def test_death_at_any_moment_leaves_nothing_half_done(
    path: Path, store: SqliteResults, look: Callable[..., list[tuple[object, ...]]]
) -> None:
    """Processes that make notes at once are killed again and again, and what is left is sound."""
    for number in range(6):
        with python(WORK, path, 2 * number, "") as one, python(WORK, path, 2 * number + 1, "") as other:
            for _ in range(3):
                one.ready()
                other.ready()
        sound(look)

    assert store.notes.get_flags(["mark"]) != [None]


def sound(look: Callable[..., list[tuple[object, ...]]]) -> None:
    """See that what several tables say agrees."""
    assert look("pragma integrity_check") == [("ok",)]
    assert look("select count(*) from place where key = 'place' having count(*) > 2") == []
    counted = look("select number, count from gathering order by number")
    assert counted == look("select gathering, count(*) from member group by gathering order by gathering")
    # every call brought three, or five that are disbanded
    assert all(count % 3 == 0 or count == 5 for _, count in counted if isinstance(count, int))
    # each turn but the first three is kept until it comes, ten seconds after the one before
    turns = [at for (at,) in look("select at from turn order by at") if isinstance(at, float)]
    assert [at for (at,) in look("select at from rate")][: len(turns)] == turns[-1:]
    assert all(10 - 1e-3 < later - sooner for sooner, later in itertools.pairwise(turns))
    assert len(turns) < 2 or turns[-1] - turns[0] == pytest.approx(10 * (len(turns) - 1), abs=1)
