"""Decides that a whole request has one time limit."""

from __future__ import annotations

import http.client
import io
import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from botocore import awsrequest  # type: ignore[import-untyped]  # it comes without types

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

#: monotonic seconds at which the request of this thread ends
_END: Final = ContextVar("qcore_sqs_end", default=math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let the requests of a block take so many seconds in all."""
    token = _END.set(min(_END.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _END.reset(token)


def lasts(seconds: float) -> bool:
    """Return whether more than these seconds are left."""
    return _END.get() - time.monotonic() > seconds


class _Reader(io.RawIOBase):
    """The bytes of an answer; each wait for more of them is as long as what is left."""

    def __init__(self, connection: socket.socket, raw: io.RawIOBase) -> None:
        self._connection = connection
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - a buffer
        left = _END.get() - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        if left < math.inf:
            self._connection.settimeout(left)
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


class _Plain(awsrequest.AWSHTTPConnection):  # type: ignore[misc]  # as above
    response_class = _Response


class _Secure(awsrequest.AWSHTTPSConnection):  # type: ignore[misc]  # as above
    response_class = _Response


class _PlainPool(awsrequest.AWSHTTPConnectionPool):  # type: ignore[misc]  # as above
    ConnectionCls = _Plain


class _SecurePool(awsrequest.AWSHTTPSConnectionPool):  # type: ignore[misc]  # as above
    ConnectionCls = _Secure


def limit(client: Any) -> None:  # noqa: ANN401 - a client of boto3, which has no types
    """Let the connections of a client end by the deadline."""
    # botocore has no public name for them
    classes = client._endpoint.http_session._pool_classes_by_scheme  # noqa: SLF001 - see above
    classes.update(http=_PlainPool, https=_SecurePool)
