"""Decides how a process holds the database: connections, transactions, forks."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import attrs

from qcore.errors import BackendRejected
from qcore_sqlite import schema
from qcore_sqlite.error_mapping import BUSY, primary_code, translate
from qcore_sqlite.forks import FORKS
from qcore_sqlite.path import database_path, prepare
from qcore_sqlite.wakeup import Bell

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Concatenate, ParamSpec

    from qcore.interfaces import Settings

    P = ParamSpec("P")
    T = TypeVar("T")

#: pages of the write-ahead log after which it is copied into the database, which costs two fsyncs
CHECKPOINT = 4000
#: bytes the log is cut back to after a burst
LOG_LIMIT = 64 * 1024 * 1024
#: seconds between looks whether the file is still the one that was opened
IDENTITY = 1.0
#: seconds of the first and the longest pause before a locked database is tried again
PAUSES = (0.0001, 0.01)
#: seconds to wait before a fork for another thread that is in the middle of a transaction
FORK_PATIENCE = 5.0


@attrs.frozen(kw_only=True)
class SqliteSettings:
    """The configuration key `sqlite`."""

    #: the database file; None = in the user's state directory
    path: str | None = None
    #: `full` lets accepted messages survive a power failure as well, at an fsync each
    synchronous: Literal["normal", "full"] = attrs.field(
        default="normal", validator=attrs.validators.in_(("normal", "full"))
    )
    #: seconds to wait for other processes that are writing
    busy_timeout: float = attrs.field(default=10.0, validator=attrs.validators.ge(0))


class Database:
    """One connection to the database file.

    It is closed before this process forks and opened again at the next use, in both processes:
    SQLite keeps its locks in tables a child would inherit and believe.
    """

    def __init__(self, settings: Settings) -> None:
        own = settings.section("sqlite") or SqliteSettings()
        if own.path == ":memory:":
            msg = "`sqlite.path` ':memory:' cannot be shared by processes; use the memory broker for tests"
            raise BackendRejected(msg)
        #: the file, without symbolic links: processes that mean the same file must say the same
        self.path = str(database_path(settings))
        #: rung when there is something to lease
        self.work = Bell(f"{self.path}-work", settings.poll)
        #: rung when a result was stored
        self.done = Bell(f"{self.path}-done", settings.poll)
        self._own = own
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None
        self._closed = False
        self._identity = (0, 0)
        self._look_again = 0.0
        FORKS.add(self)
        self.read(_nothing)

    @property
    def backend(self) -> str:
        """Return the name of this database, the same in every process."""
        return f"sqlite:{self.path}"

    def read(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `work` with the connection, again if another process was in its way."""

        def reading() -> T:
            return work(self._connection(), *args, **kwargs)

        with self._lock:
            try:
                return self._patiently(reading)
            except (sqlite3.Error, OverflowError) as exc:
                raise translate(exc, self.path, self._own.busy_timeout) from exc

    def write(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `work` inside a transaction of its own, which is undone if anything is raised."""
        with self._lock:
            # The transaction begins inside the try: a signal handler may raise between any two lines.
            try:
                connection = self._patiently(self._begin)
                value = work(connection, *args, **kwargs)
                connection.execute("commit")
            except BaseException as exc:
                self._undo()
                if isinstance(exc, (sqlite3.Error, OverflowError)):
                    raise translate(exc, self.path, self._own.busy_timeout) from exc
                raise
            return value

    def insert(self, statement: str, values: tuple[object, ...]) -> None:
        """Run one statement as its own transaction: half the cost of one with `begin` and `commit`."""
        with self._lock:
            try:
                self._patiently(self._execute, statement, values)
            except (sqlite3.Error, OverflowError) as exc:
                raise translate(exc, self.path, self._own.busy_timeout) from exc

    def close(self) -> None:
        """Close the connection and give the descriptors back; calling it twice is harmless."""
        with self._lock:
            self._closed = True
            self._let_go()
            self.work.close()
            self.done.close()

    def __del__(self) -> None:
        """Close what was forgotten, as a program does that just ends."""
        if "_lock" in vars(self):
            self.close()

    # -- the connection ---------------------------------------------------------------------

    def _connection(self) -> sqlite3.Connection:
        connection = self._open
        if connection is not None and time.monotonic() < self._look_again:
            return connection
        if self._closed:
            msg = f"this connection to {self.path} was closed; make a new one"
            raise BackendRejected(msg)
        if connection is None:
            connection = self._connect()
        self._check_identity()
        return connection

    def _connect(self) -> sqlite3.Connection:
        if self._identity == (0, 0):
            prepare(self.path)
            self._identity = self._current_identity()
        self._check_identity()
        connection = sqlite3.connect(
            self.path, timeout=0.0, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        self._open = connection
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        # in one transaction: another process may be making the tables between two looks
        connection.execute("begin")
        ready = schema.is_ready(connection, self.path)
        connection.execute("commit")
        # also for a ready one: a copy made by `vacuum into` has lost the mode
        mode = connection.execute("pragma journal_mode = wal").fetchone()[0]
        if mode != "wal":
            msg = f"the file system of {self.path} has no shared memory (a network share?); use a local disk"
            raise BackendRejected(msg)
        connection.execute(f"pragma synchronous = {self._own.synchronous}")
        connection.execute(f"pragma wal_autocheckpoint = {CHECKPOINT}")
        connection.execute(f"pragma journal_size_limit = {LOG_LIMIT}")
        connection.execute("pragma temp_store = memory")
        if not ready:
            connection.execute("begin immediate")
            schema.create(connection, self.path)
            connection.execute("commit")

    def _begin(self) -> sqlite3.Connection:
        connection = self._connection()
        connection.execute("begin immediate")
        return connection

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        self._connection().execute(statement, values)

    def _patiently(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        # SQLite could wait by itself, but no signal handler of Python's would run meanwhile, and its
        # first pause is long enough for a whole batch of another worker.
        deadline = 0.0
        pause, longest = PAUSES
        while True:
            try:
                return work(*args, **kwargs)
            except sqlite3.OperationalError as exc:
                if primary_code(exc) not in BUSY:
                    raise
                now = time.monotonic()
                deadline = deadline or now + self._own.busy_timeout
                if now >= deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, longest)

    def _undo(self) -> None:
        if self._open is not None and self._open.in_transaction:
            self._open.execute("rollback")

    # -- the file ---------------------------------------------------------------------------

    def _current_identity(self) -> tuple[int, int]:
        try:
            status = Path(self.path).stat()
        except OSError:
            return (-1, -1)
        return (status.st_dev, status.st_ino)

    def _check_identity(self) -> None:
        if self._current_identity() != self._identity:
            msg = (
                f"{self.path} was deleted or replaced while it was in use; what is written now would be lost."
                " Put the file back, or restart every process that uses it"
            )
            raise BackendRejected(msg)
        self._look_again = time.monotonic() + IDENTITY

    # -- forks ------------------------------------------------------------------------------

    def _let_go(self) -> None:
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()

    def before_fork(self) -> None:
        """Leave nothing open that a child could inherit."""
        if self._lock.acquire(timeout=FORK_PATIENCE) and not (self._open and self._open.in_transaction):
            self._let_go()

    def after_fork_in_child(self) -> None:
        """Give back what is shared with the parent: one of two that wait would take the other's wake-up."""
        self.work.close()
        self.done.close()
        self.after_fork()

    def after_fork(self) -> None:
        """Let other threads go on."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # `before_fork` did not get it


def _nothing(connection: sqlite3.Connection) -> None:
    """Do nothing but open the connection."""
