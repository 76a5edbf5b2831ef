"""Which connections threads share, and which may make a queue."""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from qcore.errors import BackendUnavailable, QueueMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds a thread waits for a connection while all are in use.
_TIMEOUT: Final = 30.0
#: Seconds between two looks of a thread that waits: nobody tells it of a connection that was lost.
_LOOK: Final = 1.0

_C_co = TypeVar("_C_co", covariant=True)


class Closes(Protocol):
    """A connection."""

    def close(self) -> None:
        """Close it."""


_T = TypeVar("_T", bound=Closes)


class Connect(Protocol[_C_co]):
    """Connects to a broker or store."""

    def __call__(self, *, create: bool = False) -> _C_co:
        """Connect; `create` makes a queue where there is none."""


class _Place:
    """One of the connections that there may be, or a thread that waits for one.

    It is there for as long as somebody has it: a signal handler may raise at any line between its
    making and the end of its use, and then nobody is left who would give it back.
    """

    __slots__ = ("__weakref__",)


class ConnectionPool(Generic[_T]):
    """Connections for any number of threads: one at a time each, made anew after a fork."""

    def __init__(self, make: Connect[_T], most: int) -> None:
        self._make = make
        #: how many there are at most; whoever needs one more waits
        self._most = most
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._idle: list[_T] = []
        #: of idle ones, of those lent out and of those that are being made
        self._places: weakref.WeakSet[_Place] = weakref.WeakSet()
        #: id of a connection -> its place
        self._place_of: dict[int, _Place] = {}
        #: threads that wait for one, and how many they were when one last came or left
        self._waiters: weakref.WeakSet[_Place] = weakref.WeakSet()
        self._waiting = 0
        self._returned = threading.Condition()

    def take(self, *, create: bool = False) -> _T:
        """Return a connection for this thread alone; `give` it back.

        Args:
            create: make a queue where there is none; only what puts something in does.

        Raises:
            BackendUnavailable: all are in use, and none was given back in time.
            QueueMissing: there is no queue, and none is made.

        """
        if self._pid != os.getpid():
            # The parent's connections are not closed here: that would end them for the parent.
            # Nor is their lock used, which another thread may have held during the fork.
            self._reset()
        # Who has waited longer comes first: one that gives and takes in a loop would keep it for ever.
        if not self._waiting:
            # Each enqueue does this; `suppress` would cost three calls.
            try:
                return self._idle.pop()
            except IndexError:
                pass
        found = self._wait()
        return self._connect(found, create=create) if isinstance(found, _Place) else found

    def give(self, connection: _T) -> None:
        """Take a connection back."""
        self._idle.append(connection)
        if self._waiting:
            with self._returned:
                self._returned.notify()

    def begin_with(self, connection: _T) -> None:
        """Lend this connection first, in a process whose parent has lent none."""
        self._pid = os.getpid()
        self._idle.append(connection)

    def _wait(self) -> _T | _Place:
        """Return a connection that is given back, or a place if another may be made."""
        end = time.monotonic() + _TIMEOUT
        waiter = _Place()
        with self._returned:
            self._waiters.add(waiter)
            self._waiting = len(self._waiters)
            try:
                if self._waiting > 1:
                    self._returned.wait(_LOOK)
                while (left := end - time.monotonic()) > 0:
                    if len(self._places) < self._most:
                        place = _Place()
                        self._places.add(place)
                        return place
                    # A thread that does not wait may be faster.
                    with suppress(IndexError):
                        return self._idle.pop()
                    self._returned.wait(min(left, _LOOK))
            finally:
                self._waiters.discard(waiter)
                self._waiting = len(self._waiters)
                if self._idle or len(self._places) < self._most:
                    self._returned.notify()
        msg = (
            f"all {self._most} connections of this process to one broker or store have been in use for "
            f"{_TIMEOUT:g} seconds; raise `max_connections`, or let fewer threads ask at once"
        )
        raise BackendUnavailable(msg)

    def _connect(self, place: _Place, *, create: bool) -> _T:
        try:
            connection = self._make(create=create)
            self._place_of[id(connection)] = place
            weakref.finalize(connection, self._place_of.pop, id(connection), None).atexit = False
        except BaseException:
            self._free(place)
            raise
        return connection

    def _free(self, place: _Place | None) -> None:
        if place is not None:
            with self._returned:
                self._places.discard(place)
                self._returned.notify()

    @contextmanager
    def connection(self, *, create: bool = False) -> Iterator[_T]:
        """Lend a connection for a block; see `take`."""
        connection = self.take(create=create)
        try:
            yield connection
        except QueueMissing:
            # It was made for who may not make the queue, and the next who takes one may.
            connection.close()
            self._free(self._place_of.pop(id(connection), None))
            raise
        except BaseException:
            self.give(connection)
            raise
        self.give(connection)

    def close(self) -> None:
        """Close what is not lent out."""
        while self._idle:
            connection = self._idle.pop()
            self._free(self._place_of.pop(id(connection), None))
            connection.close()
