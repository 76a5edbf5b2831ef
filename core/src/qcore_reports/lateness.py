"""Remembers which reporters could not send in time, for all workers."""

from __future__ import annotations

import mmap
import os
from typing import Final

#: Seconds for which a reporter that could not send in time is given next to none.
LATE_FOR: Final = 60.0
#: Reporters of which this is known; a cluster has one or two.
_PLACES: Final = 16


class Lateness:
    """Until when each reporter is given less time; the processes that are forked from here share it."""

    def __init__(self) -> None:
        self._maker = os.getpid()
        self._until = memoryview(mmap.mmap(-1, 8 * _PLACES)).cast("d")

    def is_late(self, place: int, now: float) -> bool:
        """Whether one could not send in time, not long ago."""
        return place < _PLACES and self._until[place] > now

    def note(self, place: int, now: float) -> None:
        """Take note that one could not send in time."""
        if place < _PLACES:
            self._until[place] = now + LATE_FOR

    @property
    def is_inherited(self) -> bool:
        """Whether another process has made it."""
        return self._maker != os.getpid()


#: that of the process which workers are forked from, once there is one
_SHARED: Final[list[Lateness]] = []


def share() -> None:
    """Have the processes that are forked from this one share what they find out."""
    _SHARED[:] = [Lateness()]


def shared() -> Lateness:
    """Return what this process shares with others, or one of its own."""
    return _SHARED[0] if _SHARED and _SHARED[0].is_inherited else Lateness()
