"""Which connections threads share, and which may make a queue."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from qcore.errors import BackendUnavailable, QueueMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds a thread waits for a connection while all are in use.
_TIMEOUT: Final = 30.0

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
        #: idle ones and those lent out, and how many threads wait for one
        self._made = self._waiting = 0
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
        return self._wait() or self._connect(create=create)

    def give(self, connection: _T) -> None:
        """Take a connection back."""
        self._idle.append(connection)
        if self._waiting:
            with self._returned:
                self._returned.notify()

    def _wait(self) -> _T | None:
        """Return a connection that is given back; None if another may be made, which is counted."""
        end = time.monotonic() + _TIMEOUT
        with self._returned:
            self._waiting += 1
            try:
                if self._waiting > 1:
                    self._returned.wait(_TIMEOUT)
                while (left := end - time.monotonic()) > 0:
                    if self._made < self._most:
                        self._made += 1
                        return None
                    # A thread that does not wait may be faster.
                    with suppress(IndexError):
                        return self._idle.pop()
                    self._returned.wait(left)
            finally:
                self._waiting -= 1
                if self._idle or self._made < self._most:
                    self._returned.notify()
        msg = (
            f"all {self._most} connections of this process to one broker or store have been in use for "
            f"{_TIMEOUT:g} seconds; raise `max_connections`, or let fewer threads ask at once"
        )
        raise BackendUnavailable(msg)

    def _connect(self, *, create: bool) -> _T:
        try:
            return self._make(create=create)
        except BaseException:
            self._forget_one()
            raise

    def _forget_one(self) -> None:
        with self._returned:
            self._made -= 1
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
            self._forget_one()
            raise
        except BaseException:
            self.give(connection)
            raise
        self.give(connection)

    def close(self) -> None:
        """Close what is not lent out."""
        while self._idle:
            with self._returned:
                self._made -= 1
            self._idle.pop().close()
