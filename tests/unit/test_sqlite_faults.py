"""Errors of the SQLite backend: unusable files, full disks, locks."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge, QueueMissing
from qcore.interfaces import Settings
from qcore.model import Outgoing, QueueSize, Settlement
from qcore_sqlite import (
    SqliteBroker,
    SqliteSettings,
    default_path,
    make_broker,
    make_results,
    make_schedules,
)
from qcore_sqlite.error_mapping import translate
from qcore_sqlite.identity import INTERVAL
from qcore_sqlite.schema import VERSION
from tests.unit.sqlite_base import bodies, outgoing, result, settings_for, settle_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORES = [make_broker, make_results, make_schedules]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the file of this test's queue."""
    return tmp_path / "queue.db"


@pytest.fixture
def broker(path: Path) -> Iterator[SqliteBroker]:
    """Yield a broker whose leases do not expire during the test."""
    broker = make_broker(settings_for(path))
    yield broker
    broker.close()


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


# -- the path -------------------------------------------------------------------------------


def test_without_a_path_the_queue_is_in_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG_STATE_HOME is used, and only the owner may read the files created there."""
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


def test_an_existing_file_keeps_its_permissions(path: Path) -> None:
    """A file that is shared with a group stays shared."""
    make_broker(settings_for(path)).close()
    path.chmod(0o660)

    make_broker(settings_for(path)).close()

    assert mode(path) == 0o660


def test_memory_is_refused() -> None:
    """The name `:memory:` would be a different queue in each process."""
    with pytest.raises(BackendRejected, match="use the memory broker"):
        make_broker(settings_for(Path(":memory:")))


@pytest.mark.parametrize("make", STORES)
def test_a_path_that_cannot_be_created_is_refused(make: Callable[[Settings], object], path: Path) -> None:
    """The error names the path that cannot be created and the setting to change."""
    path.touch()

    with pytest.raises(BackendRejected, match=r"queue.db/below/q.db: .*`sqlite.path`"):
        make(settings_for(path / "below" / "q.db"))


def test_a_directory_is_refused(path: Path) -> None:
    """A path that is a directory is refused."""
    path.mkdir()

    with pytest.raises(BackendRejected, match="is not a file"):
        make_broker(settings_for(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_read_only_file_or_directory_is_refused(path: Path, what: str) -> None:
    """A queue that cannot be written is refused when it is opened, not later at the first message."""
    make_broker(settings_for(path)).close()
    read_only = path if what == "file" else path.parent
    read_only.chmod(0o500)

    with pytest.raises(BackendRejected, match="no permission to write"):
        make_broker(settings_for(path))
    read_only.chmod(0o700)


# -- the content ----------------------------------------------------------------------------


def test_a_file_that_is_not_a_database_is_refused_and_unchanged(path: Path) -> None:
    """A text file is neither used nor overwritten."""
    path.write_text("dear diary, " * 100)

    with pytest.raises(BackendRejected, match=r"queue.db is damaged or not a SQLite database"):
        make_broker(settings_for(path))
    assert path.read_text() == "dear diary, " * 100


def test_the_database_of_another_program_is_refused_and_unchanged(path: Path) -> None:
    """A database with tables of another program is neither used nor changed."""
    with sqlite3.connect(path) as other:
        other.execute("create table mine (x)")
    other.close()
    before = path.read_bytes()

    with pytest.raises(BackendRejected, match="the database of another program"):
        make_broker(settings_for(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("version", "remedy"),
    [(99, "upgrade qcore"), (2, "let that version of qcore finish what is queued")],
    ids=["newer", "older"],
)
def test_tables_of_another_version_are_refused(path: Path, version: int, remedy: str) -> None:
    """A file written by a later or an earlier version of qcore is refused."""
    make_broker(settings_for(path)).close()
    with sqlite3.connect(path) as other:
        other.execute(f"pragma user_version = {version}")
    other.close()

    with pytest.raises(
        BackendRejected,
        match=f"have version {version}, this one needs {VERSION}; {remedy}, or set `sqlite.path`",
    ):
        make_broker(settings_for(path))


@pytest.mark.parametrize("make", STORES)
def test_a_second_queue_on_one_file_is_refused(path: Path, make: Callable[..., object]) -> None:
    """Messages are signed for the queue's name: the workers of either would dead-letter the other's."""
    make_broker(settings_for(path)).close()

    with pytest.raises(BackendRejected) as refused:
        make(settings_for(path, name="mail"))
    assert str(refused.value) == (
        f"{path} holds the queue 'test', and this program's is 'mail': one file holds one queue, and the"
        " workers of either would dead-letter the other's tasks; set `name` to 'test' to use that queue,"
        " or `sqlite.path` to another file for 'mail'"
    )


def test_a_file_without_a_name_belongs_to_the_first_that_writes(path: Path) -> None:
    """A file of an early version is completed by who opens it, and named by a program that may create."""
    make_broker(settings_for(path)).close()
    make_older(path)
    with sqlite3.connect(path) as other:
        other.execute("drop table queue_name")
        other.execute("pragma user_version = 5")
    other.close()

    make_broker(settings_for(path, name="reader", create=False)).close()
    first = make_broker(settings_for(path, name="mail"))
    first.enqueue(outgoing(b"a"))
    first.close()
    with pytest.raises(BackendRejected, match="holds the queue 'mail', and this program's is 'test'"):
        make_broker(settings_for(path))


def test_a_file_without_queues_gets_them(path: Path) -> None:
    """What is queued in a file of the version before stays, and other queues and priorities work in it."""
    before = make_broker(settings_for(path))
    before.enqueue([*outgoing(b"plain"), *outgoing(b"later", delay=0.001)])
    before.close()
    make_older(path)

    broker = make_broker(settings_for(path, create=False))
    broker.enqueue([Outgoing(bytes(16), b"high", 0.0, "mail", 3)])

    assert sorted(one.body for one in broker.lease(3, 20.0)) == [b"high", b"later", b"plain"]
    assert broker.size() == QueueSize(0, 3, 0, 0)
    with sqlite3.connect(path) as other:
        assert other.execute("pragma user_version").fetchone() == (VERSION,)
    other.close()


def make_older(path: Path) -> None:
    """Make the tables of a file those of the version before."""
    with sqlite3.connect(path) as other:
        for name in ("returned_at", "returned_due", "returned_queue"):
            other.execute(f"drop index {name}")
        for table in ("returned", "dead_letter"):
            for column in ("queue", "priority"):
                other.execute(f"alter table {table} drop column {column}")
        other.execute("create index returned_at on returned (at)")
        other.execute("drop table queue_state")
        other.execute("pragma user_version = 6")
    other.close()


def test_a_damaged_file_is_refused(path: Path) -> None:
    """Overwritten pages raise an error and are not read as messages."""
    broker = make_broker(settings_for(path))
    broker.enqueue(outgoing(*(b"%d" % number for number in range(2000))))
    broker.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))

    with pytest.raises(BackendRejected, match="is damaged"):
        make_broker(settings_for(path)).lease(2000, 0)


def test_a_deleted_file_is_not_replaced_by_an_empty_queue(path: Path) -> None:
    """A new process would use another queue than the processes that still have the deleted file open."""
    used = make_broker(settings_for(path))
    used.enqueue(outgoing(b"a"))
    used.close()
    path.unlink()

    for create in (True, False):
        settings = attrs.evolve(settings_for(path), create=create)
        with pytest.raises(QueueMissing, match=rf"was deleted.* or start over with: rm {path}-work$"):
            make_broker(settings)

    assert not path.exists()


@pytest.mark.parametrize("reopened", [False, True])
def test_a_file_that_is_deleted_while_in_use_is_noticed(
    path: Path, broker: SqliteBroker, reopened: bool
) -> None:
    """Messages are not written to a deleted file, and no new file is created silently."""
    broker.enqueue(outgoing(b"a"))
    for file in path.parent.iterdir():
        file.unlink()
    other = make_broker(settings_for(path)) if reopened else None
    broker._database._check_at = broker._database._check_beside_at = 0.0

    with pytest.raises(QueueMissing, match="was deleted, moved or replaced while it was in use"):
        broker.enqueue(outgoing(b"b"))
    with pytest.raises(QueueMissing, match="was deleted, moved or replaced while it was in use"):
        broker.lease(1, 0)
    assert path.exists() is reopened
    if other:
        other.close()


def test_a_file_that_is_put_back_is_used_again(path: Path, broker: SqliteBroker, tmp_path: Path) -> None:
    """A folder that was moved for a moment costs nothing."""
    broker.enqueue(outgoing(b"a"))
    path.rename(tmp_path / "elsewhere")
    broker._database._check_at = broker._database._check_beside_at = 0.0
    with pytest.raises(QueueMissing, match="was deleted, moved or replaced"):
        broker.enqueue(outgoing(b"b"))

    (tmp_path / "elsewhere").rename(path)

    broker.enqueue(outgoing(b"c"))
    assert bodies(broker.lease(3, 0)) == [b"a", b"c"]


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("replaced", [False, True])
def test_each_file_that_is_lost_is_noticed(
    path: Path, broker: SqliteBroker, suffix: str, replaced: bool
) -> None:
    """Processes with different logs, or different locks, would corrupt the database."""
    broker.enqueue(outgoing(b"a"))
    file = Path(f"{path}{suffix}")
    content = file.read_bytes()
    file.unlink()
    if replaced:
        file.write_bytes(content)
    broker._database._check_at = broker._database._check_beside_at = 0.0

    with pytest.raises(QueueMissing, match=f"{file} was deleted, moved or replaced"):
        broker.enqueue(outgoing(b"b"))


def test_a_process_that_writes_now_and_then_never_writes_to_a_deleted_file(
    path: Path, broker: SqliteBroker
) -> None:
    """The files are looked at again after a moment that no person notices."""
    assert INTERVAL <= 0.05
    broker.enqueue(outgoing(b"a"))
    path.unlink()

    def go_on() -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            broker.enqueue(outgoing(b"b"))

    with pytest.raises(QueueMissing):
        go_on()


def test_a_woken_worker_does_not_wait_for_the_lock(path: Path, broker: SqliteBroker) -> None:
    """Of several workers that are woken for one message the first takes it; the others return at once."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")

    assert broker._database.write_unless_locked(lambda _: pytest.fail("not locked")) is None

    other.execute("commit")
    assert broker._database.write_unless_locked(lambda _: 7) == 7
    other.close()


def test_a_queue_can_be_moved_to_another_file(path: Path, tmp_path: Path) -> None:
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


# -- errors that may pass -------------------------------------------------------------------


def test_a_locked_file_is_unavailable_and_then_works(path: Path) -> None:
    """A call waits for another process that holds the lock, then raises, and works once it is free."""
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
    """Limit the size of the file, enqueue until it is full and return how many messages fitted."""
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
    pytest.fail("the file was never full")


def test_a_full_disk_accepts_nothing_and_loses_nothing(broker: SqliteBroker) -> None:
    """Accepted messages stay, others raise an error, and it works again once there is room."""
    accepted = fill(broker)

    with pytest.raises(BackendUnavailable, match="is full and nothing was changed; make room"):
        broker.enqueue(outgoing(*[bytes(2000)] * 10))
    assert broker.size().ready == accepted

    leased = broker.lease(1000, 0)
    settle_all(broker, leased)
    broker.enqueue(outgoing(b"again"))
    assert len(leased) == accepted
    assert bodies(broker.lease(5, 0)) == [b"again"]


def test_results_that_do_not_fit_leave_the_leases_as_they_are(path: Path, broker: SqliteBroker) -> None:
    """A message whose result cannot be saved stays leased."""
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


def sqlite_error(kind: type[sqlite3.Error], code: int) -> sqlite3.Error:
    """Return an error as SQLite would raise it."""
    error = kind("details")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "expected", "says"),
    [
        (
            sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_IOERR_WRITE),
            BackendUnavailable,
            "check the disk",
        ),
        (
            sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_BUSY_SNAPSHOT),
            BackendUnavailable,
            "is locked",
        ),
        (
            sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_READONLY_DBMOVED),
            BackendRejected,
            "permissions",
        ),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_CANTOPEN), BackendRejected, "permissions"),
        (sqlite_error(sqlite3.DatabaseError, sqlite3.SQLITE_CORRUPT_INDEX), BackendRejected, "from a backup"),
        (sqlite_error(sqlite3.DataError, sqlite3.SQLITE_TOOBIG), PayloadTooLarge, "send a reference"),
        (OverflowError("details"), PayloadTooLarge, "send a reference"),
        (
            sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_ERROR),
            BackendRejected,
            "another program created or changed it",
        ),
        (sqlite3.ProgrammingError("details"), BackendRejected, "another program created or changed it"),
    ],
)
def test_each_error_says_what_to_do(
    error: sqlite3.Error | OverflowError, expected: type[Exception], says: str
) -> None:
    """Errors that may pass are BackendUnavailable, others BackendRejected; each says what to do."""
    translated = translate(error, "/q.db", 10.0)

    assert type(translated) is expected
    assert says in str(translated)


def test_a_message_too_large_for_sqlite_is_refused(broker: SqliteBroker) -> None:
    """SQLite's own limit is raised as PayloadTooLarge."""
    connection = broker._database._open
    assert connection is not None
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)

    with pytest.raises(PayloadTooLarge, match="too large for SQLite"):
        broker.enqueue(outgoing(bytes(2000)))


# -- closing --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", STORES)
def test_closing_twice_does_nothing(make: Callable[[Settings], SqliteBroker], path: Path) -> None:
    """A closed store stays closed, and its error says so."""
    store = make(settings_for(path))

    store.close()
    store.close()

    with pytest.raises(BackendRejected, match="was closed; make a new one"):
        store._database.read(lambda connection: connection)


def test_descriptors_are_closed(path: Path) -> None:
    """A process that opens, waits and closes a hundred times has no more open files than before."""
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
    """Values that SQLite would misread are refused in the settings."""
    with pytest.raises(ValueError, match=next(iter(fields))):
        SqliteSettings(**fields)  # type: ignore[arg-type]  # wrong values are tested


def test_full_synchronisation_can_be_set(path: Path) -> None:
    """`synchronous = full` reaches SQLite, so that a power failure loses nothing either."""
    section = SqliteSettings(path=path, synchronous="full")
    broker = make_broker(Settings(name="test", sections={"sqlite": section}))

    level = broker._database.read(lambda connection: connection.execute("pragma synchronous").fetchone())
    broker.close()

    assert level == (2,)
