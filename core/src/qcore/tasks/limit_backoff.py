"""When those that wait for one place come again."""

from __future__ import annotations

import random
import time
from typing import Final

#: Seconds after which a task that found all places taken looks again, spread by half: at least,
#: and at most however many wait.
_SOON: Final = 1.0
_LATE: Final = 10.0
#: So many a second may look again in one worker; each costs a lease and a release.
_RATE: Final = 500.0
#: Seconds for which all places are taken to be taken without asking the store.
_REMEMBERED: Final = 0.1
#: Keys a worker keeps in mind.
_KEYS: Final = 1000


class _Waiting:
    """Those of one key, as one worker sees them."""

    __slots__ = ("count", "full_until", "since", "wait")

    def __init__(self, now: float) -> None:
        #: how many were told to wait since then, monotonic seconds
        self.count = 0
        self.since = now
        self.wait = _SOON
        self.full_until = 0.0


class ConcurrencyBackoff:
    """Has those that wait for places come the less often the more they are.

    How many there are nobody counts: what comes back in a second, at the wait they were given,
    tells it well enough. Without this a backlog costs each worker a look at every one of its
    messages once a second, and nothing else is done.
    """

    def __init__(self) -> None:
        self._keys: dict[str, _Waiting] = {}

    def full(self, key: str) -> bool:
        """Whether all places were taken a moment ago."""
        found = self._keys.get(key)
        return found is not None and time.monotonic() < found.full_until

    def wait(self, key: str, *, known: bool) -> float:
        """Return the seconds one more waits; `known` if that was remembered, not asked for."""
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
            found.wait = min(_LATE, max(_SOON, found.wait * found.count / passed / _RATE))
            found.count, found.since = 0, now
        return found.wait * (0.5 + random.random() / 2)  # noqa: S311 - jitter

    def freed(self, key: str) -> None:
        """Note that a place is free: the next may ask."""
        found = self._keys.get(key)
        if found is not None:
            found.full_until = 0.0
