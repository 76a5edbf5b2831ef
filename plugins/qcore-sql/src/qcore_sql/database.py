"""Decides how a process shares connections, and how transactions are run."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from qcore.errors import BackendRejected
from qcore_sql import callers, tables
from qcore_sql.address import find
from qcore_sql.backend import refused
from qcore_sql.pool import pool_of
from qcore_sql.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore.interfaces import Settings
    from qcore_sql.address import Address
    from qcore_sql.backend import Connection, Listens
    from qcore_sql.compiled import Cursor, Texts
    from qcore_sql.pool import Lent, Pool

P = ParamSpec("P")
T = TypeVar("T")
#: a function of a transaction
Work = Callable[Concatenate[Session, P], T]

#: times that a transaction is begun which conflicts with others
_ATTEMPTS: Final = 10


class Database:
    """Access to the tables of a queue; it connects when it is used."""

    def __init__(self, settings: Settings, address: Address | None = None) -> None:
        self.address = address or find(settings)
        self._backend = self.address.backend
        self.queue = settings.name
        self._create = settings.create and self.address.settings.create_tables
        self._pool: Pool | None = None
        self._texts: Texts | None = None
        self._finalizer: Callable[[], object] | None = None
        self._closed = False

    @property
    def transaction_domain(self) -> str:
        """Return the name of this queue's tables, the same in every process."""
        return f"sql:{self.address.title}#{self.queue}"

    @property
    def texts(self) -> Texts:
        """The texts of statements in its dialect."""
        self._enter()
        assert self._texts is not None
        return self._texts

    def create_tables(self) -> None:
        """Create the tables unless they exist, whatever the settings say."""
        self._create = True
        self.name()

    def name(self) -> str:
        """Return the name of this queue's tables, the same by every address of the server."""
        self.single(_nothing)
        assert self._pool is not None
        return f"sql:{self._pool.name}#{self.queue}"

    # -- statements -------------------------------------------------------------------------

    def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work`, which changes nothing; repeat it if an old connection is lost."""
        try:
            return self._single(work, *args, **kwargs)
        except self._backend.error as exc:
            if not self._backend.is_lost(exc):
                raise self.error_of(exc) from exc
        return self.single(work, *args, **kwargs)

    def single(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work`; each of its statements is a transaction of its own."""
        begun = time.monotonic()
        for attempt in range(_ATTEMPTS):
            try:
                return self._single(work, *args, **kwargs)
            except self._backend.error as exc:
                if not self._may_repeat(exc, attempt, begun):
                    raise self.error_of(exc) from exc
        raise AssertionError

    def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` in a transaction, which is rolled back if anything is raised.

        It is repeated if it conflicts with another transaction.
        """
        begun = time.monotonic()
        for attempt in range(_ATTEMPTS):
            try:
                return self._write(work, *args, **kwargs)
            except self._backend.error as exc:
                if not self._may_repeat(exc, attempt, begun):
                    raise self.error_of(exc) from exc
        raise AssertionError

    def _may_repeat(self, exc: Exception, attempt: int, begun: float) -> bool:
        """Return whether what failed has written nothing and may work at once."""
        if not attempt and self._pool is not None and self._backend.is_read_only(exc):
            # the connections lead to a server that was demoted, and a new one to the primary
            self._pool.clear()
            return True
        # those that wait for a lock each time may take long
        late = time.monotonic() - begun > self.address.settings.timeout
        return self._backend.is_repeatable(exc) and attempt < _ATTEMPTS - 1 and not late

    @contextmanager
    def joined(self, connection: Any) -> Iterator[Session]:  # noqa: ANN401 - of any library
        """Lend what executes statements as part of the transaction of a caller's connection."""
        self.name()
        assert self._pool is not None
        assert self._texts is not None
        try:
            with callers.session_on(connection, self.address, self._texts, self._pool.name) as session:
                yield session
        except self._backend.error as exc:
            if self._backend.is_read_only(exc):
                raise refused(
                    "its transaction can only read; begin one that can write, at the primary"
                ) from exc
            # what happens to a connection of the caller's says nothing about ours
            raise self._backend.read(exc, self.address.title) from exc

    def brief(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work`, which is one statement where the database can do it by one, else a transaction."""
        if self._backend.one_statement:
            return self.single(work, *args, **kwargs)
        return self.write(work, *args, **kwargs)

    def error_of(self, error: Exception) -> Exception:
        """Return the error to raise for an error of the driver."""
        if self._pool is not None and (self._backend.is_lost(error) or self._backend.lacks_table(error)):
            # the others are likely lost too, and it may be another server that answers next
            self._pool.clear()
        return self._backend.read(error, self.address.title)

    def info(self) -> str:
        """Return what the database is, its version and its address."""
        return f"{self.read(self._ask, self._backend.info)}, {self.address.title}"

    def check(self) -> str:
        """Return what the doctor says about the database."""
        return self.read(self._ask, lambda cursor: self._backend.check(cursor, self.address.title))

    #: whether it notifies who waits for results
    watches = True

    @property
    def wakes(self) -> bool:
        """Whether it notifies who waits for messages."""
        return self._backend.wakes

    def listen(self, channel: str) -> Listens:
        """Open a connection that is notified of messages."""
        try:
            return self._backend.listen(self.address, channel)
        except self._backend.error as exc:
            raise self.error_of(exc) from exc

    @property
    def is_last_user(self) -> bool:
        """Whether nobody else in this process uses the connections."""
        return self._pool is not None and self._pool.has_one_user

    def wait(self, listener: Listens, seconds: float) -> Sequence[str]:
        """Wait for a notification; return what those say that have come."""
        try:
            return listener.wait(seconds)
        except self._backend.error as exc:
            raise self.error_of(exc) from exc

    @staticmethod
    def _ask(session: Session, question: Callable[[Cursor], str]) -> str:
        return question(session.cursor)

    def close(self) -> None:
        """Stop using the connections; a second call does nothing."""
        self._closed = True
        self._pool = None
        if self._finalizer is not None:
            self._finalizer()

    # -- connections ------------------------------------------------------------------------

    def _single(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._session() as session:
            return work(session, *args, **kwargs)

    def _write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._session() as session:
            session.cursor.execute(self._backend.begin)
            value = work(session, *args, **kwargs)
            session.cursor.execute("COMMIT")
            return value

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """Lend a connection; it comes back without a transaction that is open."""
        pool, lent = self._take()
        assert self._texts is not None
        connection, is_clean = lent.connection, False
        try:
            cursor = connection.cursor()
            yield Session(cursor, self._texts)
            cursor.close()
            is_clean = True
        except self._backend.error:
            self._end(connection)
            is_clean = True
            raise
        finally:
            if not is_clean:
                # a signal's handler raised: an answer that comes later is not that of the next statement
                self._backend.close(connection)
            pool.put(lent)

    def _end(self, connection: Connection) -> None:
        try:
            self._backend.end(connection)
        except self._backend.error:
            self._backend.close(connection)

    def _take(self) -> tuple[Pool, Lent]:
        pool = self._enter()
        assert self._texts is not None
        lent = pool.take(self.address)
        if not pool.name:
            try:
                pool.name = tables.check(lent.connection, self.address, self._texts, create=self._create)
            except BaseException:
                self._backend.close(lent.connection)
                pool.put(lent)
                raise
        return pool, lent

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise BackendRejected(
                f"this connection to {self._backend.name} at {self.address.title} was closed; make a new one"
            )

    def _enter(self) -> Pool:
        self._refuse_if_closed()
        if self._pool is None:
            pool, user = pool_of(os.getpid(), type(self._backend), self.address.key), object()
            # a producer may not close it, and the process may end
            self._finalizer = weakref.finalize(self, _leave_unless_forked, pool, user, os.getpid())
            self._texts = pool.enter(self.address, user)
            self._pool = pool
        return self._pool


def _leave_unless_forked(pool: Pool, user: object, pid: int) -> None:
    """Stop using a pool, unless this process is a fork."""
    if pid == os.getpid():
        pool.leave(user)


def _nothing(session: Session) -> None:
    """Do nothing; calling it connects and checks the tables."""
    del session
