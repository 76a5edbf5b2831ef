"""Decides how long a connection to MariaDB waits for an answer."""

from __future__ import annotations

import io
import time
from typing import Any

from pymysql.connections import Connection as Driver  # type: ignore[import-untyped]  # it has none


class Connection(Driver):  # type: ignore[misc]  # it has no types
    """A connection that does not wait for ever for a server whose answer drips.

    The driver's own limit is for each wait for more bytes.
    """

    _reader: io.BufferedReader | None = None

    def connect(self, sock: Any = None) -> None:  # noqa: ANN401 - a socket or something like it
        """Connect and log in, within one limit."""
        self._deadline = _Deadline()
        self._deadline.ends = time.monotonic() + max(self.connect_timeout, self._read_timeout)
        super().connect(sock)

    @property
    def _rfile(self) -> io.BufferedReader | None:
        """What the driver reads answers by; it makes another one for an encrypted connection."""
        return self._reader

    @_rfile.setter
    def _rfile(self, file: io.BufferedReader | None) -> None:
        self._reader = file and io.BufferedReader(_Reader(file.detach(), self._deadline))

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        self._deadline.ends = time.monotonic() + self._read_timeout
        super()._execute_command(command, sql)


class _Deadline:
    """Until when an answer must be here; apart from the connection, which its reader would keep alive."""

    #: monotonic seconds
    ends = 0.0


class _Reader(io.RawIOBase):
    """The bytes of answers."""

    def __init__(self, raw: Any, deadline: _Deadline) -> None:  # noqa: ANN401 - typeshed's has no readinto
        self._raw = raw
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - a buffer
        if time.monotonic() > self._deadline.ends:
            msg = "the answer was not complete in time"
            raise TimeoutError(msg)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
