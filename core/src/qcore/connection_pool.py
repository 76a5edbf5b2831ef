"""Which connections threads share, and which may make a queue."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ResultStore
    from qcore.messages.sealed_schedules import SealedSchedules

_C_co = TypeVar("_C_co", covariant=True)
_T = TypeVar("_T", bound="Broker | ResultStore | SealedSchedules | CoordinationStore")


class Connect(Protocol[_C_co]):
    """Connects to a broker or store."""

    def __call__(self, *, create: bool = False) -> _C_co:
        """Connect; `create` makes a queue where there is none."""


class ConnectionPool(Generic[_T]):
    """Connections for any number of threads: one at a time each, made anew after a fork."""

    def __init__(self, make: Connect[_T]) -> None:
        self._make = make
        self._idle: list[_T] = []
        self._pid = os.getpid()

    def take(self, *, create: bool = False) -> _T:
        """Return a connection for this thread alone; `give` it back.

        Args:
            create: make a queue where there is none; only what puts something in does.

        Raises:
            QueueMissing: there is no queue, and none is made.

        """
        if self._pid != os.getpid():
            # The parent's connections are not closed here: that would end them for the parent.
            self._idle = []
            self._pid = os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self._make(create=create)

    def give(self, connection: _T) -> None:
        """Take a connection back."""
        self._idle.append(connection)

    @contextmanager
    def connection(self, *, create: bool = False) -> Iterator[_T]:
        """Lend a connection for a block; see `take`."""
        connection = self.take(create=create)
        try:
            yield connection
        finally:
            self.give(connection)

    def close(self) -> None:
        """Close what is not lent out."""
        while self._idle:
            self._idle.pop().close()
