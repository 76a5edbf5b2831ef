"""How long to wait before a failed call is made again."""

from __future__ import annotations

import random


class Backoff:
    """Gives waits that double from one to the next, spread by chance."""

    def __init__(self, least: float, most: float) -> None:
        """Begin at `least` seconds; no wait is longer than `most` seconds."""
        self._least = least
        self._most = most
        #: seconds of the next wait, before it is spread
        self.seconds = least

    def next(self) -> float:
        """Return the seconds to wait now: between half of `seconds` and all of it, which is then doubled."""
        found = self.seconds * (0.5 + random.random() / 2)  # noqa: S311 - jitter
        self.seconds = min(self.seconds * 2, self._most)
        return found

    def raise_to(self, most: float) -> None:
        """Let waits become as long as `most` seconds."""
        self._most = max(self._most, most)

    def reset(self) -> None:
        """Begin again at the shortest wait, because a call succeeded."""
        self.seconds = self._least
