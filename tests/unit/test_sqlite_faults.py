"""What the SQLite backend says to files it cannot use, and what it loses: nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge
from qcore.interfaces import Settings
from qcore.model import QueueSize, Settlement
from qcore_sqlite import (
    SqliteBroker,
    SqliteSettings,
    default_path,
    make_broker,
    make_results,
    make_schedules,
)
from qcore_sqlite.error_mapping import translate
from qcore_sqlite.schema import VERSION
from tests.unit.sqlite_base import bodies, outgoing, result, settings_for, settle_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORES = [make_broker, make_results, make_schedules]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the queue of this test lies."""
    return tmp_path / "queue.db"


@pytest.fixture
def broker(path: Path) -> Iterator[SqliteBroker]:
    """Yield a broker whose leases outlast the test."""
    broker = make_broker(settings_for(path))
    yield broker
    broker.close()


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


# -- the place ------------------------------------------------------------------------------


def test_without_a_path_the_queue_is_in_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG_STATE_HOME is honoured, and what is made there is for its owner only."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    before = os.umask(0)

    broker = make_broker(Settings(name="emails"))
    broker.enqueue(outgoing(b"a"))
    broker.lease(1, 0)
    files = {file.name: mode(file) for file in default_path("emails").parent.iterdir()}
    os.umask(before)
    broker.close()

    assert default_path("emails") == tmp_path / "state" / "qcore" / "emails.db"
    assert files == dict.fromkeys(["emails.db", "emails.db-wal", "emails.db-shm", "emails.db-work"], 0o600)
    assert [mode(tmp_path / "state"), mode(tmp_path / "state" / "qcore")] == [0o700, 0o700]


def test_the_state_directory_is_in_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without XDG_STATE_HOME it is ~/.local/state."""
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)

    assert default_path("emails") == Path.home() / ".local" / "state" / "qcore" / "emails.db"


def test_a_file_that_is_there_keeps_its_permissions(path: Path) -> None:
    """Who shares a queue with a group may go on doing so."""
    make_broker(settings_for(path)).close()
    path.chmod(0o660)

    make_broker(settings_for(path)).close()

    assert mode(path) == 0o660


def test_memory_is_refused() -> None:
    """The name `:memory:` would be another queue in each process."""
    with pytest.raises(BackendRejected, match="use the memory broker"):
        make_broker(settings_for(Path(":memory:")))


@pytest.mark.parametrize("make", STORES)
def test_a_place_where_nothing_can_be_made_is_refused(make: Callable[[Settings], object], path: Path) -> None:
    """A directory that cannot be made is named with the setting to change."""
    path.touch()

    with pytest.raises(BackendRejected, match=r"queue.db/below/q.db: .*`sqlite.path`"):
        make(settings_for(path / "below" / "q.db"))


def test_a_directory_is_refused(path: Path) -> None:
    """The path of a directory is no file."""
    path.mkdir()

    with pytest.raises(BackendRejected, match="is not a file"):
        make_broker(settings_for(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_may_only_be_read_is_refused(path: Path, what: str) -> None:
    """A queue that cannot be written is refused when it is opened, not at the first message."""
    make_broker(settings_for(path)).close()
    place = path if what == "file" else path.parent
    place.chmod(0o500)

    with pytest.raises(BackendRejected, match="no permission to write"):
        make_broker(settings_for(path))
    place.chmod(0o700)


# -- the content ----------------------------------------------------------------------------


def test_what_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    """A text file is neither used nor overwritten."""
    path.write_text("dear diary, " * 100)

    with pytest.raises(BackendRejected, match=r"queue.db is damaged or not a SQLite database"):
        make_broker(settings_for(path))
    assert path.read_text() == "dear diary, " * 100


def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    """A database with tables of somebody else is neither used nor changed."""
    with sqlite3.connect(path) as other:
        other.execute("create table mine (x)")
    other.close()
    before = path.read_bytes()

    with pytest.raises(BackendRejected, match="the database of another program"):
        make_broker(settings_for(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("version", "remedy"),
    [(99, "upgrade qcore"), (2, "let the qcore that wrote it finish what is queued")],
    ids=["newer", "older"],
)
def test_tables_of_another_version_are_refused(path: Path, version: int, remedy: str) -> None:
    """A queue written by a later or an earlier qcore is not guessed at."""
    make_broker(settings_for(path)).close()
    with sqlite3.connect(path) as other:
        other.execute(f"pragma user_version = {version}")
    other.close()

    with pytest.raises(
        BackendRejected,
        match=f"of version {version}, this one knows {VERSION}; {remedy}, or give `sqlite.path`",
    ):
        make_broker(settings_for(path))


def test_a_damaged_file_is_refused(path: Path) -> None:
    """Pages that were overwritten are told of, not read as messages."""
    broker = make_broker(settings_for(path))
    broker.enqueue(outgoing(*(b"%d" % number for number in range(2000))))
    broker.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))

    broker = make_broker(settings_for(path))
    with pytest.raises(BackendRejected, match="is damaged"):
        broker.lease(2000, 0)
    broker.close()


def test_a_queue_is_not_begun_anew_where_its_file_was_taken_away(path: Path) -> None:
    """A new process beside older ones that hold the deleted file would work on apart from them."""
    used = make_broker(settings_for(path))
    used.enqueue(outgoing(b"a"))
    used.close()
    path.unlink()

    with pytest.raises(BackendRejected, match=r"was deleted.*or delete .*-work"):
        make_broker(settings_for(path))

    assert not path.exists()


@pytest.mark.parametrize("again", [False, True])
def test_a_file_that_was_deleted_under_a_running_process_is_noticed(
    path: Path, broker: SqliteBroker, again: bool
) -> None:
    """Messages are not written into a file without a name, nor is a new one begun in silence."""
    broker.enqueue(outgoing(b"a"))
    for file in path.parent.iterdir():
        file.unlink()
    other = make_broker(settings_for(path)) if again else None
    broker._database._look_again = 0.0

    with pytest.raises(BackendRejected, match="was deleted or replaced while it was in use"):
        broker.enqueue(outgoing(b"b"))
    with pytest.raises(BackendRejected, match="was deleted or replaced while it was in use"):
        broker.lease(1, 0)
    assert path.exists() is again
    if other:
        other.close()


def test_a_queue_can_be_moved_to_another_place(path: Path, tmp_path: Path) -> None:
    """A copy of the file of a stopped cluster is the same queue."""
    broker = make_broker(settings_for(path))
    broker.enqueue(outgoing(b"a", b"b"))
    broker.lease(1, 0)
    broker.close()
    shutil.copy(path, tmp_path / "copy.db")

    copy = make_broker(settings_for(tmp_path / "copy.db"))
    size, leased = copy.size(), copy.lease(5, 0)
    copy.close()

    assert size == QueueSize(ready=1, leased=1, delayed=0, dead_letters=0)
    assert bodies(leased) == [b"b"]


# -- obstacles that may pass ----------------------------------------------------------------


def test_a_locked_file_is_unavailable_and_then_works(path: Path) -> None:
    """A process that holds the lock too long is waited for, then told of."""
    broker = make_broker(settings_for(path, busy_timeout=0.05))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin immediate")

    with pytest.raises(
        BackendUnavailable, match=r"queue.db is locked by another process for longer than 0.05 s"
    ):
        broker.enqueue(outgoing(b"a"))
    with pytest.raises(BackendUnavailable, match=r"`sqlite.busy_timeout`"):
        broker.enqueue(outgoing(b"a", b"b"))
    holder.execute("rollback")
    holder.close()
    broker.enqueue(outgoing(b"c"))
    leased = broker.lease(5, 0)
    broker.close()

    assert bodies(leased) == [b"c"]


def fill(broker: SqliteBroker) -> int:
    """Let the file grow no more, enqueue until it is full and return how many messages it took."""
    broker.enqueue(outgoing(b"first"))
    connection = broker._database._open
    assert connection is not None
    connection.execute(f"pragma max_page_count = {connection.execute('pragma page_count').fetchone()[0] + 3}")
    count = 1
    while count < 1000:
        try:
            broker.enqueue(outgoing(bytes(2000)))
        except BackendUnavailable:
            return count
        count += 1
    pytest.fail("it never was full")


def test_a_full_disk_takes_nothing_and_loses_nothing(broker: SqliteBroker) -> None:
    """What was accepted stays, what was not is reported, and it works again once there is room."""
    accepted = fill(broker)

    with pytest.raises(BackendUnavailable, match="is full; nothing was changed, make room"):
        broker.enqueue(outgoing(*[bytes(2000)] * 10))
    assert broker.size().ready == accepted

    leased = broker.lease(1000, 0)
    settle_all(broker, leased)
    broker.enqueue(outgoing(b"again"))
    assert len(leased) == accepted
    assert bodies(broker.lease(5, 0)) == [b"again"]


def test_results_that_do_not_fit_leave_the_leases_as_they_are(path: Path, broker: SqliteBroker) -> None:
    """A result that cannot be kept does not let its message go."""
    accepted = fill(broker)
    store = make_results(settings_for(path))
    (delivery,) = broker.lease(1, 0)
    large = result(bytes(16), body=bytes(50_000))

    for _ in range(2):
        with pytest.raises(BackendUnavailable, match="is full"):
            broker.commit_and_lease(store, [large], [Settlement(delivery.receipt)], 5)
    size, kept = broker.size(), store.get([bytes(16)])
    leased = broker.commit_and_lease(store, [result(bytes(16))], [Settlement(delivery.receipt)], 5)
    store.close()

    assert size == QueueSize(ready=accepted - 1, leased=1, delayed=0, dead_letters=0)
    assert kept == [None]
    assert len(leased) == min(5, accepted - 1)


def fault(kind: type[sqlite3.Error], code: int) -> sqlite3.Error:
    """Return an error as SQLite would raise it."""
    error = kind("it says")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "expected", "says"),
    [
        (fault(sqlite3.OperationalError, sqlite3.SQLITE_IOERR_WRITE), BackendUnavailable, "look at the disk"),
        (fault(sqlite3.OperationalError, sqlite3.SQLITE_BUSY_SNAPSHOT), BackendUnavailable, "is locked"),
        (fault(sqlite3.OperationalError, sqlite3.SQLITE_READONLY_DBMOVED), BackendRejected, "permissions"),
        (fault(sqlite3.OperationalError, sqlite3.SQLITE_CANTOPEN), BackendRejected, "permissions"),
        (fault(sqlite3.DatabaseError, sqlite3.SQLITE_CORRUPT_INDEX), BackendRejected, "from a backup"),
        (fault(sqlite3.DataError, sqlite3.SQLITE_TOOBIG), PayloadTooLarge, "send a reference"),
        (OverflowError("it says"), PayloadTooLarge, "send a reference"),
        (
            fault(sqlite3.OperationalError, sqlite3.SQLITE_ERROR),
            BackendRejected,
            "made or changed by something else",
        ),
        (sqlite3.ProgrammingError("it says"), BackendRejected, "made or changed by something else"),
    ],
)
def test_each_fault_says_what_to_do(
    error: sqlite3.Error | OverflowError, expected: type[Exception], says: str
) -> None:
    """Faults that may pass are unavailable, others refused; each message tells what it was."""
    translated = translate(error, "/q.db", 10.0)

    assert type(translated) is expected
    assert says in str(translated)


def test_a_message_too_large_for_sqlite_is_refused(broker: SqliteBroker) -> None:
    """The limit of SQLite itself has an error of its own."""
    connection = broker._database._open
    assert connection is not None
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)

    with pytest.raises(PayloadTooLarge, match="too large for SQLite"):
        broker.enqueue(outgoing(bytes(2000)))


# -- the end --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", STORES)
def test_closing_twice_is_harmless(make: Callable[[Settings], SqliteBroker], path: Path) -> None:
    """A closed store stays closed and says so."""
    store = make(settings_for(path))

    store.close()
    store.close()

    with pytest.raises(BackendRejected, match="was closed; make a new one"):
        store._database.read(lambda connection: connection)


def test_descriptors_are_given_back(path: Path) -> None:
    """Whoever opens, waits and closes a hundred times holds no more files than before."""
    make_broker(settings_for(path)).close()
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))

    for _ in range(100):
        broker = make_broker(settings_for(path))
        broker.lease(1, 0.0001)
        broker.enqueue(outgoing(b"a"))
        settle_all(broker, broker.lease(1, 0))
        broker.close()

    assert len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize("fields", [{"synchronous": "off"}, {"busy_timeout": -1.0}])
def test_settings_out_of_range_are_refused(fields: dict[str, object]) -> None:
    """What SQLite would take for something else is refused where it is written."""
    with pytest.raises(ValueError, match=next(iter(fields))):
        SqliteSettings(**fields)  # type: ignore[arg-type]  # that is what is tested


def test_full_synchronisation_can_be_asked_for(path: Path) -> None:
    """With `synchronous = full` a power failure takes nothing either."""
    own = SqliteSettings(path=str(path), synchronous="full")
    broker = make_broker(Settings(name="test", sections={"sqlite": own}))

    level = broker._database.read(lambda connection: connection.execute("pragma synchronous").fetchone())
    broker.close()

    assert level == (2,)
