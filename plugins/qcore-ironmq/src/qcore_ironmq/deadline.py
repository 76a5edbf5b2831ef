"""Decides that a whole request has one time limit."""

from __future__ import annotations

import http.client
import io
import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

#: monotonic seconds at which the request of this thread ends
_END: Final = ContextVar("qcore_ironmq_end", default=math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let the requests of a block take so many seconds in all."""
    token = _END.set(min(_END.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _END.reset(token)


def left() -> float:
    """Return the seconds that are left, or raise a TimeoutError."""
    seconds = _END.get() - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the answer was not complete in time")
    return seconds


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


class _Response(http.client.HTTPResponse):
    """An answer that is read until the deadline, its head too."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # urllib3 limits each wait for more bytes, and has no limit for all of them
        raw: Any = self.fp
        self.fp = io.BufferedReader(_Reader(sock, raw.detach()))


class _Plain(HTTPConnection):
    response_class = _Response


class _Secure(HTTPSConnection):
    response_class = _Response


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Secure


def limited(pool: urllib3.PoolManager) -> urllib3.PoolManager:
    """Return a pool whose connections end by the deadline."""
    pool.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return pool
