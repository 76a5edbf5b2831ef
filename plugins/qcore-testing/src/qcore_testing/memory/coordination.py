"""Flags, permits, rate slots and barriers, in this process only."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.coordination import CoordinationStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.coordination import BarrierMember

#: seconds a rate slot is kept for a holder that does not ask again
DAY: Final = 86400.0


class Rate(msgspec.Struct):
    """When the latest rate slot is or was, and whose slots are still to come."""

    at: float
    #: when the whole burst is unused again
    until: float = 0.0
    turns: dict[bytes, float] = msgspec.field(default_factory=dict)


class Barrier(msgspec.Struct):
    """Who has come, and until when that is remembered."""

    until: float = 0.0
    members: dict[int, bytes] = msgspec.field(default_factory=dict)


class MemoryCoordination(CoordinationStore):
    """Shared by every thread; other processes do not see it."""

    cross_process = False

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._wall = wall
        self._marks: dict[str, tuple[bytes, float]] = {}
        #: holders with the ends of their time, in the order they came
        self._permits: dict[str, dict[bytes, float]] = {}
        self._rates: dict[str, Rate] = {}
        self._barriers: dict[str, Barrier] = {}

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds; b"" removes it."""
        with self._lock:
            if value:
                self._marks[key] = (value, self._wall() + ttl)
            else:
                self._marks.pop(key, None)

    def get_flags(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return values in the order of `keys`."""
        with self._lock:
            now = self._wall()
            marks = [self._marks.get(key, (b"", 0.0)) for key in keys]
            return [value if until > now else None for value, until in marks]

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Take a place; return None, or the first holder if all are taken."""
        with self._lock:
            now = self._wall()
            holders = self._holders(key, now)
            if holder not in holders and len(holders) >= limit:
                return next(iter(holders), b"")
            # a key that is there keeps its place in the order
            holders[holder] = now + ttl
            self._permits[key] = holders
            return None

    def release(self, permits: Sequence[tuple[str, bytes]]) -> None:
        """Give permits up."""
        with self._lock:
            for key, holder in permits:
                self._permits.get(key, {}).pop(holder, None)

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Return the seconds until the holder's rate slot."""
        with self._lock:
            now = self._wall()
            # with the whole burst unused, its slots are past, except the last one
            unused = now - (burst - 1) * interval
            rate = self._rates.setdefault(key, Rate(unused - interval))
            at = rate.turns.pop(holder, now - DAY)
            if at <= now - DAY:
                rate.at = at = max(unused, rate.at + interval)
                rate.until = at + burst * interval
            if at > now:
                rate.turns[holder] = at
            return max(0.0, at - now)

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Note that members have come; return how many there are by then."""
        with self._lock:
            now = self._wall()
            counts = []
            for arrival in arrivals:
                barrier = self._barriers.get(arrival.key)
                if barrier is None or barrier.until <= now:
                    barrier = self._barriers[arrival.key] = Barrier()
                barrier.until = now + ttl
                barrier.members.setdefault(arrival.index, arrival.body)
                counts.append(len(barrier.members))
            return counts

    def barrier_members(self, key: str) -> Mapping[int, bytes]:
        """Return what the members of a fan-in barrier returned, by index."""
        with self._lock:
            barrier = self._barriers.get(key)
            alive = barrier is not None and barrier.until > self._wall()
            return dict(sorted(barrier.members.items())) if barrier is not None and alive else {}

    def delete_barriers(self, keys: Sequence[str]) -> None:
        """Forget fan-in barriers."""
        with self._lock:
            for key in keys:
                self._barriers.pop(key, None)

    def close(self) -> None:
        """Leave everything as it is, for other threads."""

    def clear(self) -> bool:
        """Remove everything."""
        with self._lock:
            for kept in (self._marks, self._permits, self._rates, self._barriers):
                kept.clear()
        return True

    def prune(self) -> None:
        """Remove what has expired."""
        with self._lock:
            now = self._wall()
            self._marks = {key: mark for key, mark in self._marks.items() if mark[1] > now}
            held = {key: self._holders(key, now) for key in self._permits}
            self._permits = {key: holders for key, holders in held.items() if holders}
            for rate in self._rates.values():
                rate.turns = {holder: at for holder, at in rate.turns.items() if at > now - DAY}
            self._rates = {key: rate for key, rate in self._rates.items() if rate.turns or rate.until > now}
            self._barriers = {key: one for key, one in self._barriers.items() if one.until > now}

    def _holders(self, key: str, now: float) -> dict[bytes, float]:
        return {holder: until for holder, until in self._permits.get(key, {}).items() if until > now}
