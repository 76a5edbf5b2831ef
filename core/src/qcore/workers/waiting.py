"""How a worker waits for a backend that fails."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, Protocol

from qcore.errors import BackendError, BackendRejected
from qcore_process.backoff import Backoff
from qcore_reports.log_limit import LogLimit

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("qcore.worker")

#: Seconds before a backend is asked again after a failure: the shortest and the longest wait.
_WAIT: Final = (0.05, 5.0)
#: The longest wait if the backend rejects the call, which seldom passes by itself.
_WAIT_REJECTED: Final = 30.0
#: Seconds in which one failure is logged once.
_PERIOD: Final = 60.0


class Closes(Protocol):
    """A connection, or what has some."""

    def close(self) -> None:
        """Close it."""


class Failures:
    """Logs the failures of backends, and waits after each for longer than after the one before."""

    def __init__(
        self, slot: int, stopping: Callable[[], bool], beat: Callable[[], None], count: Callable[[], None]
    ) -> None:
        self._slot = slot
        self._stopping = stopping
        #: tells the supervisor that this worker goes on
        self._beat = beat
        #: counts one failure
        self._count = count
        self._limit = LogLimit(_log, _PERIOD)

    @staticmethod
    def backoff() -> Backoff:
        """Return the waits of one call that may fail again and again."""
        return Backoff(*_WAIT)

    def wait_out(self, exc: BackendError, backoff: Backoff) -> None:
        """Wait before the next try; a stop ends the wait."""
        self._count()
        level = logging.WARNING
        if isinstance(exc, BackendRejected):
            level = logging.ERROR
            backoff.raise_to(_WAIT_REJECTED)
        seconds = backoff.next()
        self._limit.write(level, str(exc), f"worker {self._slot} waits {seconds:.2g} s: {exc}")
        end = time.monotonic() + seconds
        while not self._stopping() and (left := end - time.monotonic()) > 0:
            self._beat()
            time.sleep(min(left, 0.1))

    def close(self, *connections: Closes) -> None:
        """Close connections, whatever they raise; log how many failures were left out."""
        for one in connections:
            try:
                one.close()
            except BackendError as exc:
                _log.warning("worker %d could not close a connection: %s", self._slot, exc)
        self._limit.flush()
