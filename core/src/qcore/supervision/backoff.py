"""When something that failed is tried again."""

from __future__ import annotations

import random
from typing import Final

#: Seconds before a backend is asked again after a failure: from, to, doubling with jitter.
_LEAST: Final = 0.1
_MOST: Final = 5.0


class Backoff:
    """Waits ever longer."""

    def __init__(self) -> None:
        #: of the next wait, before it is spread
        self.seconds = _LEAST

    def next(self) -> float:
        """Return the seconds until the next try, each time twice as many, spread by chance."""
        found = self.seconds * (0.5 + random.random() / 2)  # noqa: S311 - jitter
        self.seconds = min(self.seconds * 2, _MOST)
        return found
