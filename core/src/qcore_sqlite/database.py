"""Decides how a process opens, shares and closes the database."""

from __future__ import annotations

import sqlite3
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from qcore.errors import BackendRejected
from qcore_sqlite import schema
from qcore_sqlite.error_mapping import BUSY, primary_code, translate
from qcore_sqlite.forks import FORKS
from qcore_sqlite.identity import INTERVAL, INTERVAL_BESIDE, Identity
from qcore_sqlite.path import database_path, missing, prepare
from qcore_sqlite.settings import SqliteSettings
from qcore_sqlite.unwritten import Unwritten
from qcore_sqlite.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Concatenate, ParamSpec

    from qcore.interfaces import Settings

    P = ParamSpec("P")
    T = TypeVar("T")

#: pages of the write-ahead log after which SQLite copies it into the database, which costs two fsyncs
CHECKPOINT = 4000
#: bytes to which the log is truncated after a burst
LOG_LIMIT = 64 * 1024 * 1024
#: the first and the longest pause before a locked database is tried again, in seconds
PAUSES = (0.0001, 0.01)
#: seconds to wait before a fork for another thread to finish its transaction
FORK_TIMEOUT = 5.0


class Database:
    """One connection to the database file.

    It is closed before this process forks, and both processes open it again at the next use, because
    a child would inherit SQLite's tables of locks although it does not have the locks.
    """

    def __init__(self, settings: Settings) -> None:
        section = settings.section("sqlite") or SqliteSettings()
        if str(section.path) == ":memory:":
            msg = "`sqlite.path` ':memory:' cannot be shared by processes; use the memory broker for tests"
            raise BackendRejected(msg)
        #: the file, with symbolic links resolved, so that every process uses the same name for it
        self.path = str(database_path(settings))
        #: notified when there is a message to lease
        self.work_added = Wakeup(f"{self.path}-work", settings.poll)
        #: notified when a result was saved
        self.result_saved = Wakeup(f"{self.path}-done", settings.poll, made=not settings.make_when_written)
        self._settings = section
        self._name = settings.name
        self._create = settings.create
        self._unwritten = Unwritten(self.path, settings)
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None
        self._closed = False
        self._identity = Identity(self.path)
        #: monotonic seconds
        self._check_at = self._check_beside_at = 0.0
        FORKS.add(self)
        self.read(_nothing)

    @property
    def transaction_domain(self) -> str:
        """Return the name of this database, the same in every process."""
        return f"sqlite:{self.path}"

    def read(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `work` with the connection; repeat it while another process holds the lock.

        Raises:
            BackendError: SQLite failed; the message names the file and what to do.
        """

        def reading() -> T:
            return work(self._connection(), *args, **kwargs)

        with self._lock:
            try:
                return self._while_locked(reading)
            except (sqlite3.Error, OverflowError) as exc:
                raise translate(exc, self.path, self._settings.busy_timeout) from exc

    def write(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `work` in a transaction of its own, which is rolled back if anything is raised.

        Raises:
            BackendError: SQLite failed; the message names the file and what to do.
        """
        try:
            return self._transaction(partial(self._while_locked, self._begin), work, *args, **kwargs)
        except (sqlite3.Error, OverflowError) as exc:
            raise translate(exc, self.path, self._settings.busy_timeout) from exc

    def write_unless_locked(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Call `work` as `write` does; return None if another process has the lock."""
        try:
            return self._transaction(self._begin, work, *args, **kwargs)
        except (sqlite3.Error, OverflowError) as exc:
            if primary_code(exc) in BUSY:
                return None
            raise translate(exc, self.path, self._settings.busy_timeout) from exc

    def _transaction(
        self,
        begin: Callable[[], sqlite3.Connection],
        work: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        with self._lock:
            # It begins inside the try, because a signal handler may raise between any two lines.
            try:
                connection = begin()
                value = work(connection, *args, **kwargs)
                connection.execute("commit")
            except BaseException:
                self._rollback()
                raise
            return value

    def insert(
        self, statement: str, values: tuple[object, ...], then: Callable[[], object] | None = None
    ) -> None:
        """Run one statement as its own transaction, at half the cost of one with `begin` and `commit`.

        `then` is called after it, to wake who waits for it. The files beside the database are looked at
        after that, because a worker would wait for that too.

        Raises:
            BackendError: SQLite failed; the message names the file and what to do.
        """
        with self._lock:
            try:
                now = time.monotonic()
                if self._open is not None and now >= self._check_at:
                    self._identity.check_main()
                    self._check_at = now + INTERVAL
                self._while_locked(self._execute, statement, values)
            except (sqlite3.Error, OverflowError) as exc:
                raise translate(exc, self.path, self._settings.busy_timeout) from exc
        if then is not None:
            then()
        if now >= self._check_beside_at:
            self._check_beside_at = now + INTERVAL_BESIDE
            self._identity.check_beside()

    def wait_for_work(self, seconds: float) -> bool:
        """Return after `seconds`, or earlier and True if a process added work.

        The files are looked at before, and need not be again when one beside them woke this process.
        """
        with self._lock:
            self._connection()
        if not self.work_added.wait(seconds):
            return False
        self._check_at = time.monotonic() + INTERVAL
        return True

    def close(self) -> None:
        """Close the connection and its descriptors; a second call does nothing."""
        with self._lock:
            self._closed = True
            self._disconnect()
            self.work_added.close()
            self.result_saved.close()

    def __del__(self) -> None:
        """Close the connection if the program did not."""
        if "_lock" in vars(self):
            self.close()

    # -- the connection ---------------------------------------------------------------------

    def _connection(self, *, writes: bool = False) -> sqlite3.Connection:
        connection = self._open
        now = time.monotonic()
        if connection is not None and now < self._check_at:
            return connection
        if self._closed:
            msg = f"this connection to {self.path} was closed; make a new one"
            raise BackendRejected(msg)
        if connection is None:
            connection = self._connect(writes=writes)
        self._identity.check()
        self._check_at = now + INTERVAL
        return connection

    def _connect(self, *, writes: bool) -> sqlite3.Connection:
        if not writes and (empty := self._unwritten.connection()):
            return empty
        if not self._identity.known:
            prepare(self.path, create=self._create)
            self._identity.remember()
        self._identity.check()
        connection = sqlite3.connect(
            self.path, timeout=0.0, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        # a row that is not ours may hold a text that is not UTF-8
        connection.text_factory = _text
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        self._open = connection
        self._identity.opened()
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        # in one transaction, because another process may be creating the tables meanwhile
        connection.execute("begin")
        ready = schema.is_ready(connection, self.path, self._name)
        exists = schema.exists(connection)
        connection.execute("commit")
        if not (exists or self._create):
            raise missing(self.path)
        # set for an existing file as well, because a copy made by `vacuum into` is not in this mode
        mode = connection.execute("pragma journal_mode = wal").fetchone()[0]
        if mode != "wal":
            msg = f"the file system of {self.path} has no shared memory (a network share?); use a local disk"
            raise BackendRejected(msg)
        connection.execute(f"pragma synchronous = {self._settings.synchronous}")
        connection.execute(f"pragma wal_autocheckpoint = {CHECKPOINT}")
        connection.execute(f"pragma journal_size_limit = {LOG_LIMIT}")
        connection.execute("pragma temp_store = memory")
        if not ready:
            connection.execute("begin immediate")
            schema.create(connection, self.path, self._name, claim=self._create)
            connection.execute("commit")

    def _begin(self) -> sqlite3.Connection:
        connection = self._connection(writes=True)
        connection.execute("begin immediate")
        return connection

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        self._connection(writes=True).execute(statement, values)

    def _while_locked(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        # SQLite could wait by itself, but Python would run no signal handler meanwhile, and SQLite's
        # first pause is as long as a whole batch of another worker takes.
        deadline = 0.0
        pause, longest = PAUSES
        while True:
            try:
                return work(*args, **kwargs)
            except sqlite3.OperationalError as exc:
                if primary_code(exc) not in BUSY:
                    raise
                now = time.monotonic()
                deadline = deadline or now + self._settings.busy_timeout
                if now >= deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, longest)

    def _rollback(self) -> None:
        if self._open is not None and self._open.in_transaction:
            self._open.execute("rollback")

    def begin_anew(self) -> None:
        """Close what is open; the next use opens the file that is there by then."""
        with self._lock:
            self._disconnect()
            self.work_added.close()
            self.result_saved.close()
            self._identity = Identity(self.path)
            self._check_at = self._check_beside_at = 0.0

    # -- forks ------------------------------------------------------------------------------

    def _disconnect(self) -> None:
        connection, self._open = self._open, None
        self._unwritten.close()
        if connection is not None:
            self._identity.closed()
            connection.close()

    def before_fork(self) -> None:
        """Close everything that a child would inherit."""
        if self._lock.acquire(timeout=FORK_TIMEOUT) and not (self._open and self._open.in_transaction):
            self._disconnect()

    def after_fork_in_child(self) -> None:
        """Close what is shared with the parent, because one process would consume the other's wake-up."""
        self.work_added.close()
        self.result_saved.close()
        self.after_fork()

    def after_fork(self) -> None:
        """Let other threads use the database again."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # `before_fork` did not get the lock


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def _nothing(connection: sqlite3.Connection) -> None:
    """Do nothing; calling it opens the connection."""
