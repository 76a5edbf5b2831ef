"""What time it is by the broker's clock."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError, QueueMissing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from qcore.interfaces import Broker

_log = logging.getLogger("qcore.clock")

#: Seconds after which the broker is asked again; good clocks differ by milliseconds then.
_EVERY: Final = 60.0
#: Seconds after which it is asked again if it did not answer.
_AGAIN: Final = 5.0
#: Seconds by which two clocks may differ and count as the same: HTTP gives whole seconds.
_SAME: Final = 1.0


def _elapsed() -> float:
    """Return seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class BackendClock:
    """The broker's clock, where it has one: several machines mean the same time by it.

    The broker is asked when the time is first needed and once a minute from then on; in between, a
    clock of this machine that nobody sets is counted on. A broker without a clock of its own means
    that this machine's clock decides, and so does one that has not answered yet.
    """

    def __init__(self, connection: Callable[[], AbstractContextManager[Broker]]) -> None:
        self._connection = connection
        #: what is added to `_elapsed`; None = this machine's clock decides
        self._shift: float | None = None
        #: by `_elapsed`
        self._ask_at = 0.0
        #: whether the last question was answered
        self._answers = True

    def now(self) -> float:
        """Return epoch seconds."""
        elapsed = _elapsed()
        if elapsed >= self._ask_at:
            self._ask()
        return time.time() if self._shift is None else self._shift + _elapsed()

    def now_ms(self) -> int:
        """Return epoch milliseconds."""
        return int(self.now() * 1000)

    def _ask(self) -> None:
        # Another thread that needs the time meanwhile uses what is known.
        self._ask_at = _elapsed() + _AGAIN
        try:
            with self._connection() as broker:
                difference = skew(broker)
        except QueueMissing:
            return  # a new queue, whose first task is on its way
        except BackendError as exc:
            if self._answers:
                _log.warning("the broker's clock is not known, and the last one that was is used: %s", exc)
            self._answers = False
            return
        self._answers = True
        if difference is not None and abs(difference) < _SAME:
            difference = 0.0
        self._shift = None if difference is None else time.time() + difference - _elapsed()
        self._ask_at = _elapsed() + _EVERY


def skew(broker: Broker) -> float | None:
    """Return the seconds by which a broker's clock is ahead of ours, None if it has none of its own."""
    began = time.time()
    theirs = broker.server_time()
    return None if theirs is None else theirs - (began + time.time()) / 2
