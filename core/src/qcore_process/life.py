"""How long a process has worked, and whether it has grown meanwhile."""

from __future__ import annotations

import resource
import sys
import time
from typing import Final

#: Bytes by which a process grows before its age no longer counts.
GROWTH: Final = 16 << 20
#: The unit of `ru_maxrss`, see getrusage(2) of Linux and of macOS.
_UNIT: Final = 1 if sys.platform == "darwin" else 1024


class Life:
    """The time since a process began to work, and the memory that it has taken since."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._had = _peak()

    def has_lasted(self, seconds: float) -> bool:
        """Return whether it has taken so long, or the process has grown by `GROWTH`."""
        return time.monotonic() - self._began >= seconds or _peak() - self._had >= GROWTH


def _peak() -> int:
    """Return the most memory that was ever resident, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
