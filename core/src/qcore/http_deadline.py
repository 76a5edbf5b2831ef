"""Decides that a whole HTTP request has one time limit.

For plugins whose clients stand above `http.client`: urllib3 and botocore limit each wait for more bytes
and have no limit for all of them.
"""

from __future__ import annotations

import http.client
import io
import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

#: monotonic seconds at which the request of this thread ends
_END: Final = ContextVar("qcore_http_end", default=math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let the requests of a block take so many seconds in all."""
    token = _END.set(min(_END.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _END.reset(token)


def left() -> float:
    """Return the seconds that are left, infinity outside of `within`.

    Raises:
        TimeoutError: none are left.

    """
    seconds = _END.get() - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the answer was not complete in time")
    return seconds


def lasts(seconds: float) -> bool:
    """Return whether more than these seconds are left."""
    return _END.get() - time.monotonic() > seconds


class LimitedResponse(http.client.HTTPResponse):
    """An answer that is read until the deadline, its head too: a connection's `response_class`."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw: Any = self.fp
        self.fp = io.BufferedReader(_Reader(sock, raw.detach()))


class _Reader(io.RawIOBase):
    """The bytes of an answer; each wait for more of them is as long as what is left."""

    def __init__(self, connection: socket.socket, raw: io.RawIOBase) -> None:
        self._connection = connection
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - a buffer
        seconds = left()
        if seconds < math.inf:
            self._connection.settimeout(seconds)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
