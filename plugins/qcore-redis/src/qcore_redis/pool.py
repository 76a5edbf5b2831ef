"""How many connections a process has, and who waits for one."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from qcore_redis.error_mapping import Crowded

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_redis.connection import Connection

#: connections of a process to one server, unless `max_connections` says otherwise
MOST: Final = 100
#: seconds after which one that waits looks for an idle connection itself
_LOOK: Final = 0.02


class _Waiter:
    """One that waits for a connection."""

    def __init__(self) -> None:
        self.come = threading.Event()
        #: the connection it was handed; None = it may make one
        self.connection: Connection | None = None


class ConnectionPool:
    """So many connections at most; whoever needs one more gets an idle one or waits in turn.

    Each producer and consumer keeps the connection it used last in a cell of its own. To take it out and
    to return it are one step each of the interpreter, so the usual way takes no lock.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # a connection may be closed by the collector of garbage, in whatever this thread does just now
        self._lock = threading.RLock()
        self._open = 0
        self._cells: dict[int, list[Connection]] = {}
        #: who waits; who has finished with a connection does not keep it while there is anybody
        self.waiting: deque[_Waiter] = deque()

    @property
    def scarce(self) -> bool:
        """Whether somebody waits, or may soon: none should be held for long."""
        return bool(self.waiting) or len(self._cells) > self._most

    def join(self, cell: list[Connection]) -> None:
        """Let others take the connection in this cell while it is idle."""
        self._cells[id(cell)] = cell

    def leave(self, cell: list[Connection]) -> None:
        """Forget a cell."""
        self._cells.pop(id(cell), None)

    def take(self, make: Callable[[float], Connection], deadline: float, title: str) -> Connection:
        """Return a connection that is idle, or a new one once there may be one more.

        Raises:
            BackendUnavailable: all were in use until the deadline, as `Crowded`, or it does not answer.

        """
        if (found := self._await(deadline, title)) is not None:
            if found.is_there():
                return found
            # its place is taken over
            found.closed = None
            found.close()
        try:
            made = make(deadline)
        except BaseException:
            self._closed()
            raise
        made.closed = self._closed
        return made

    def give(self, connection: Connection, cell: list[Connection]) -> None:
        """Hand a connection to whoever waits, or put it into a cell."""
        with self._lock:
            if not self._hand(connection):
                cell.append(connection)

    def _await(self, deadline: float, title: str) -> Connection | None:
        """Return one that is idle, None if one more may be made."""
        waiter = _Waiter()
        with self._lock:
            if not self.waiting:
                if self._open < self._most:
                    self._open += 1
                    return None
                if (idle := self._idle()) is not None:
                    return idle
            self.waiting.append(waiter)
        try:
            while not waiter.come.wait(min(_LOOK, max(0.0, deadline - time.monotonic()))):
                with self._lock:
                    # one may have been returned just before there was anybody who waits
                    if self.waiting and (idle := self._idle()) is not None:
                        self._hand(idle)
                if time.monotonic() >= deadline and not waiter.come.is_set():
                    break
            else:
                return waiter.connection
        except BaseException:
            self._remove_waiter(waiter)
            raise
        self._remove_waiter(waiter)
        raise Crowded(
            f"all {self._most} connections of this process to redis at {title} are in use;"
            " raise `redis.max_connections` or let fewer threads ask at once"
        )

    def _remove_waiter(self, waiter: _Waiter) -> None:
        """Leave the queue; what came meanwhile goes to the next."""
        with self._lock:
            if not waiter.come.is_set():
                self.waiting.remove(waiter)
            elif waiter.connection is None:
                self._closed()
            elif not self._hand(waiter.connection):
                waiter.connection.close()

    def _hand(self, connection: Connection | None) -> bool:
        """Give the first in the queue a connection, or leave to make one."""
        if not self.waiting:
            return False
        waiter = self.waiting.popleft()
        waiter.connection = connection
        waiter.come.set()
        return True

    def _idle(self) -> Connection | None:
        for cell in list(self._cells.values()):
            try:
                return cell.pop()
            except IndexError:
                continue
        return None

    def _closed(self) -> None:
        with self._lock:
            if not self._hand(None):
                self._open -= 1


class _Pools:
    """The pools of this process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Leave to the parent of a fork what is its own; another thread of it may have held the lock."""
        self._lock = threading.Lock()
        self._all: dict[tuple[object, ...], ConnectionPool] = {}

    def find(self, identity: tuple[object, ...], most: int) -> ConnectionPool:
        """Return the one of what `Address.identity` returns, of `most` connections if it is made now."""
        with self._lock:
            if identity not in self._all:
                self._all[identity] = ConnectionPool(most)
            return self._all[identity]


_pools: Final = _Pools()
os.register_at_fork(after_in_child=_pools.forget)
#: the pool of this process for an address
connection_pool: Final = _pools.find
