"""The clock of the stand-in for Disque: it can be driven, and run faster than the world's."""

from __future__ import annotations

import time


class Clock:
    """One clock for all nodes of a cluster."""

    def __init__(self, speed: float = 1.0) -> None:
        #: seconds of the stand-in in one second of the world
        self.speed = speed
        self._base = time.time()
        self._ahead = self._stamped = 0.0

    def now(self) -> float:
        """Return epoch seconds."""
        return self._base + (time.time() - self._base) * self.speed + self._ahead

    def advance(self, seconds: float) -> None:
        """Let seconds pass at once."""
        self._ahead += seconds

    def stamp(self) -> float:
        """Return epoch seconds that nobody else is given: the order of jobs."""
        self._stamped = max(self.now(), self._stamped + 1e-6)
        return self._stamped
