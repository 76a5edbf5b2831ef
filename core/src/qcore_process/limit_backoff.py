"""Decides when tasks that wait for a permit ask again."""

from __future__ import annotations

import random
import time
from typing import Final

#: The shortest and the longest wait of a task that found all permits taken, in seconds; each wait is
#: shortened by up to a half at random.
_MIN_WAIT: Final = 1.0
_MAX_WAIT: Final = 10.0
#: Most tasks that ask again in one worker per second; each costs a lease and a release.
_RATE: Final = 500.0
#: Seconds for which permits count as taken without asking the store.
_REMEMBERED: Final = 0.1
#: Most keys that a worker remembers.
_KEYS: Final = 1000


class _Waiting:
    """The tasks of one key that wait, as one worker sees them."""

    __slots__ = ("count", "full_until", "since", "wait")

    def __init__(self, now: float) -> None:
        #: tasks that had to wait since `since`, monotonic seconds
        self.count = 0
        self.since = now
        self.wait = _MIN_WAIT
        self.full_until = 0.0


class ConcurrencyBackoff:
    """Lets tasks that wait for permits ask less often the more of them there are.

    Their number is estimated by how many ask in a second after the wait they were given. Without
    this, a worker with a backlog would lease each waiting message once a second and do nothing else.
    """

    def __init__(self) -> None:
        self._keys: dict[str, _Waiting] = {}

    def full(self, key: str) -> bool:
        """Return whether all permits were taken a moment ago."""
        found = self._keys.get(key)
        return found is not None and time.monotonic() < found.full_until

    def wait(self, key: str, *, known: bool) -> float:
        """Return the seconds that one more task waits; `known` if the store was not asked."""
        now = time.monotonic()
        found = self._keys.get(key)
        if found is None:
            if len(self._keys) >= _KEYS:
                self._keys.clear()
            found = self._keys[key] = _Waiting(now)
        if not known:
            found.full_until = now + _REMEMBERED
        found.count += 1
        passed = now - found.since
        if passed >= 1.0:
            found.wait = min(_MAX_WAIT, max(_MIN_WAIT, found.wait * found.count / passed / _RATE))
            found.count, found.since = 0, now
        return found.wait * (0.5 + random.random() / 2)  # noqa: S311 - jitter

    def freed(self, key: str) -> None:
        """Record that a permit is free, so that the next task asks the store."""
        found = self._keys.get(key)
        if found is not None:
            found.full_until = 0.0
