"""Decides which connections to a database a process has."""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Final
from weakref import ref

from qcore.errors import BackendUnavailable
from qcore_sql.compiled import Texts

if TYPE_CHECKING:
    from qcore_sql.address import Address
    from qcore_sql.backend import Backend, Connection


#: seconds after which who waits looks again: an exception may have ended the use of a connection
_LOOK: Final = 0.5


class Lent:
    """A connection in use, and the right to use one: it ends with this object, if not before.

    So an exception that a signal's handler raises costs no connection, wherever it is raised.
    """

    __slots__ = ("__weakref__", "connection", "given", "most")

    #: set by `Pool.take`
    connection: Connection
    #: set when it is the turn of who waits
    given: threading.Event

    def __init__(self, most: int) -> None:
        #: how many there may be at once
        self.most = most


class Pool:
    """The connections that all brokers and stores of a process with one address share."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        # reentrant, because the garbage collector may close a broker or a store at any point
        self._lock = threading.RLock()
        self._idle: list[Connection] = []
        self._users: set[object] = set()
        #: what is lent; one that is gone is removed by the interpreter, without any code of ours
        self._lent: set[ref[Lent]] = set()
        #: who waits for a connection, the first for longest; some may have gone
        self._waiting: deque[ref[Lent]] = deque()
        #: random text that names the database; "" = its tables have not been checked
        self.name = ""
        self.texts: Texts | None = None

    def enter(self, address: Address, user: object) -> Texts:
        """Count a user; return the texts of statements."""
        with self._lock:
            self._users.add(user)
            if self.texts is None:
                self.texts = Texts(address.dialect)
            return self.texts

    def leave(self, user: object) -> None:
        """Close the connections when the last user leaves."""
        with self._lock:
            self._users.discard(user)
            if not self._users:
                self.clear()

    @property
    def has_one_user(self) -> bool:
        """Whether one broker or store is left."""
        return len(self._users) == 1

    def take(self, address: Address) -> Lent:
        """Lend a connection, an idle one that the server has not ended or a new one; `put` it back.

        Raises:
            BackendUnavailable: as many as there may be are in use, and none was released in time.
        """
        lent = Lent(address.settings.pool_size)
        try:
            self._wait_for_turn(lent, address)
            lent.connection = self._living() or address.backend.connect(address)
        except BaseException:
            self._end_turn(lent)
            raise
        return lent

    def put(self, lent: Lent) -> None:
        """Keep a connection for the next user, unless it is closed."""
        try:
            with self._lock:
                if self._users and self._backend.is_open(lent.connection):
                    self._idle.append(lent.connection)
                    return
            self._backend.close(lent.connection)
        finally:
            self._end_turn(lent)

    def clear(self) -> None:
        """Close every idle connection; check the tables anew."""
        with self._lock:
            idle, self._idle = self._idle, []
            self.name = ""
        for connection in idle:
            self._backend.close(connection)

    def _living(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not self._backend.is_dead(connection):
                return connection
            self._backend.close(connection)

    def _wait_for_turn(self, lent: Lent, address: Address) -> None:
        with self._lock:
            if not self._waiting and len(self._lent) < lent.most:
                self._lend(lent)
                return
            lent.given = threading.Event()
            self._waiting.append(ref(lent))
        seconds = address.settings.timeout
        end = time.monotonic() + seconds
        while not lent.given.wait(min(_LOOK, max(0.0, end - time.monotonic()))):
            with self._lock:
                self._lend_to_next(lent.most)
            if time.monotonic() >= end and not lent.given.is_set():
                raise BackendUnavailable(
                    f"no connection of this process to {self._backend.name} at {address.title} was free for"
                    f" {seconds:g} s; raise `sql.pool_size` ({lent.most}), or let fewer threads ask at once"
                )

    def _end_turn(self, lent: Lent) -> None:
        with self._lock:
            self._lent.discard(ref(lent))
            if ref(lent) in self._waiting:
                self._waiting.remove(ref(lent))
            # handed on: a thread that does not wait would be faster each time
            self._lend_to_next(lent.most)

    def _lend_to_next(self, most: int) -> None:
        """Lend to who waits for longest; interrupted anywhere, it can be repeated."""
        while self._waiting and len(self._lent) < most:
            following = self._waiting[0]()
            if following is not None:
                self._lend(following)
                following.given.set()
            self._waiting.popleft()

    def _lend(self, lent: Lent) -> None:
        self._lent.add(ref(lent, self._lent.discard))


@cache
def pool_of(pid: int, kind: type[Backend], key: str) -> Pool:
    """Return the pool of a process; a fork has another one, and leaves its parent's connections open."""
    del pid, key
    return Pool(kind())
