"""Decides that a whole call has one time limit."""

from __future__ import annotations

import socket
import time
from typing import Any

import redis

#: Any: redis-py has no types for what is replaced here
_Connection: Any = redis.Connection


class DeadlineSocket(socket.socket):
    """A socket whose receives and sends end at one moment, all together."""

    #: monotonic seconds
    deadline: float = 0.0

    def recv(self, *args: Any) -> bytes:
        """Receive what there is, until the deadline."""
        self._limit()
        return super().recv(*args)

    def recv_into(self, *args: Any) -> int:
        """Receive what there is, until the deadline."""
        self._limit()
        return super().recv_into(*args)

    def sendall(self, *args: Any) -> None:
        """Send everything, until the deadline."""
        self._limit()
        return super().sendall(*args)

    def _limit(self) -> None:
        # Zero and None ask for what is there, without waiting.
        if not self.gettimeout():
            return
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        self.settimeout(left)


class DeadlineConnection(_Connection):  # type: ignore[misc]  # see above
    """A connection of redis-py to which `limit` gives one time for a whole call."""

    def limit(self, seconds: float) -> None:
        """Let what is called next take so many seconds in all."""
        if self._sock is not None:
            self._sock.deadline = time.monotonic() + seconds

    def _connect(self) -> DeadlineSocket:
        """Connect; the first greeting has the time limit of a call."""
        plain = super()._connect()
        seconds = plain.gettimeout()
        made = DeadlineSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
        made.settimeout(seconds)
        made.deadline = time.monotonic() + (seconds or 0.0)
        return made
