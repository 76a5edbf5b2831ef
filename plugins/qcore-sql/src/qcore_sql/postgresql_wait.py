"""Decides how long a connection to PostgreSQL waits for answers and notifications."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.waiting import Ready, Wait

if TYPE_CHECKING:
    from collections.abc import Generator


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that does not wait for ever for a server that hangs."""

    #: seconds to wait for an answer
    timeout = 15.0

    def wait(self, gen: Generator[Any, Any, Any], interval: float = 0.0, timeout: float | None = None) -> Any:  # noqa: ANN401 - as psycopg's
        """Wait for an answer of the server.

        Raises:
            OperationalError: it does not answer in time; the connection is closed.
        """
        del interval
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            return self._wait(gen, deadline)
        except psycopg.Error:
            raise
        except BaseException:
            # a signal's handler raised: an answer that comes later is not that of the next statement
            self.close()
            raise

    def _wait(self, gen: Generator[Any, Any, Any], deadline: float) -> Any:  # noqa: ANN401 - as above
        poller = select.poll()
        number = self.pgconn.socket
        try:
            state = next(gen)
            while True:
                poller.register(number, _EVENTS[state])
                events = poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
                if not events:
                    self.close()
                    raise psycopg.OperationalError(f"no answer in {self.timeout:g} s")
                state = gen.send(_ready(events[0][1]) & state or state)
        except StopIteration as end:
            return end.value


_EVENTS: Final = {
    Wait.R: select.POLLIN,
    Wait.W: select.POLLOUT,
    Wait.RW: select.POLLIN | select.POLLOUT,
}


def _ready(event: int) -> int:
    # an error or the end of the connection is found by reading
    return (Ready.R if event & ~select.POLLOUT else 0) | (Ready.W if event & ~select.POLLIN else 0)


class Listener:
    """A connection that is notified of messages."""

    def __init__(self, connection: Connection, channel: str) -> None:
        self._connection = connection
        connection.execute(f"LISTEN {channel}")

    def wait(self, seconds: float) -> list[str]:
        """Return after `seconds`, or earlier if there is a notification; return what those say.

        Raises:
            psycopg.Error: the connection is lost.
        """
        poller = select.poll()
        poller.register(self._connection.fileno(), select.POLLIN)
        found: list[str] = []
        if poller.poll(max(0.0, seconds) * 1000):
            connection = self._connection.pgconn
            connection.consume_input()
            while (one := connection.notifies()) is not None:
                found.append(one.extra.decode())
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
