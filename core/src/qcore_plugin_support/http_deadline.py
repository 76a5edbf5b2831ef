"""Decides that an HTTP answer is read within a time limit.

For plugins whose clients stand above `http.client`: urllib3 and botocore limit each wait for more bytes
and have no limit for all of them. See `qcore_plugin_support.call_limit`.
"""

from __future__ import annotations

import http.client
import io
import math
from typing import TYPE_CHECKING, Any

from qcore_plugin_support.call_limit import left

if TYPE_CHECKING:
    import socket


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
