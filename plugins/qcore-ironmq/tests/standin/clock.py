"""The clock of the stand-in for IronMQ: it can be driven, and run faster than the world's."""

from __future__ import annotations

import time


class Clock:
    """One clock for all queues."""

    def __init__(self, speed: float = 1.0) -> None:
        #: seconds of the stand-in in one second of the world
        self.speed = speed
        self._ahead = 0.0

    def now(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic() * self.speed + self._ahead

    def advance(self, seconds: float) -> None:
        """Let seconds pass at once."""
        self._ahead += seconds
