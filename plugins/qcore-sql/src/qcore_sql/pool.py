"""Decides which connections to a database a process has."""

from __future__ import annotations

import threading
from collections import deque
from functools import cache
from typing import TYPE_CHECKING

from qcore.errors import BackendUnavailable
from qcore_sql.compiled import Texts

if TYPE_CHECKING:
    from qcore_sql.address import Address
    from qcore_sql.backend import Backend, Connection


class Pool:
    """The connections that all brokers and stores of a process with one address share."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        # reentrant, because the garbage collector may close a broker or a store at any point
        self._lock = threading.RLock()
        self._idle: list[Connection] = []
        self._users = self._lent = 0
        #: threads that wait for a connection, the first for longest
        self._waiting: deque[threading.Event] = deque()
        #: random text that names the database; "" = its tables have not been checked
        self.name = ""
        self.texts: Texts | None = None

    def enter(self, address: Address) -> Texts:
        """Count a user; return the texts of statements."""
        with self._lock:
            self._users += 1
            if self.texts is None:
                self.texts = Texts(address.dialect)
            return self.texts

    def leave(self) -> None:
        """Close the connections when the last user leaves."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self.clear()

    @property
    def has_one_user(self) -> bool:
        """Whether one broker or store is left."""
        return self._users == 1

    def take(self, address: Address) -> Connection:
        """Return a connection, an idle one that the server has not ended or a new one; `put` it back.

        Raises:
            BackendUnavailable: as many as there may be are in use, and none was released in time.
        """
        self._wait_for_turn(address)
        try:
            return self._living() or address.backend.connect(address)
        except BaseException:
            self._end_turn()
            raise

    def put(self, connection: Connection) -> None:
        """Keep a connection for the next user, unless it is closed."""
        try:
            with self._lock:
                if self._users and self._backend.is_open(connection):
                    self._idle.append(connection)
                    return
            self._backend.close(connection)
        finally:
            self._end_turn()

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

    def _wait_for_turn(self, address: Address) -> None:
        most, seconds = address.settings.pool_size, address.settings.timeout
        with self._lock:
            if self._lent < most:
                self._lent += 1
                return
            turn = threading.Event()
            self._waiting.append(turn)
        try:
            turn.wait(seconds)
        finally:
            # a signal's handler may have raised
            with self._lock:
                late = turn in self._waiting
                if late:
                    self._waiting.remove(turn)
        if late:
            raise BackendUnavailable(
                f"no connection of this process to {self._backend.name} at {address.title} was free for"
                f" {seconds:g} s; raise `sql.pool_size` ({most}), or let fewer threads ask at once"
            )

    def _end_turn(self) -> None:
        with self._lock:
            if self._waiting:
                # handed on: a thread that does not wait would be faster each time
                self._waiting.popleft().set()
            else:
                self._lent -= 1


@cache
def pool_of(pid: int, kind: type[Backend], key: str) -> Pool:
    """Return the pool of a process; a fork has another one, and leaves its parent's connections open."""
    del pid, key
    return Pool(kind())
