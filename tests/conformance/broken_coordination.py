"""Notes that are each wrong in one way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from qcore.coordination import BarrierMember
from qcore_sqlite.coordination import SqliteCoordination
from qcore_testing.memory.coordination import MemoryCoordination

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY = 86400.0


class PutKeepsTheFirst(MemoryCoordination):
    """Never changes its mind."""

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Look first."""
        if not value or self.get_flags([key]) == [None]:
            super().set_flag(key, value, ttl)


class FlagsStay(MemoryCoordination):
    """Knows no end of a mark."""

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Add a day."""
        super().set_flag(key, value, ttl + DAY)


class FlagsEndEarly(MemoryCoordination):
    """Forgets before the time."""

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Keep it for a hundredth of the time."""
        super().set_flag(key, value, ttl / 100)


class LookLeavesOut(MemoryCoordination):
    """Returns what there is, whatever it was asked for."""

    def get_flags(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Drop what is not there."""
        return [value for value in super().get_flags(keys) if value is not None]


class LimitIsOneMore(MemoryCoordination):
    """Lets one too many in."""

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Count from zero."""
        return super().acquire(key, holder, limit + 1, ttl)


class LastHolderIsTold(MemoryCoordination):
    """Names the one that came last."""

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Look at the end."""
        if super().acquire(key, holder, limit, ttl) is None:
            return None
        return list(self._permits[key])[-1]


class AskingAgainIsComingAnew(MemoryCoordination):
    """Puts a holder that asks again behind the others."""

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Let it go first."""
        self.release([(key, holder)])
        return super().acquire(key, holder, limit, ttl)


class AskingAgainProlongsNothing(MemoryCoordination):
    """Keeps the first end."""

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Ignore whoever has a place."""
        if self._permits.get(key, {}).get(holder, 0.0) > self._wall():
            return None
        return super().acquire(key, holder, limit, ttl)


class PlacesStay(MemoryCoordination):
    """Never takes a place back."""

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Add a day."""
        return super().acquire(key, holder, limit, ttl + DAY)


class AnybodyReleases(MemoryCoordination):
    """Frees a place for whoever asks."""

    def release(self, places: Sequence[tuple[str, bytes]]) -> None:
        """Free all."""
        for key, _ in places:
            self._permits.pop(key, None)


class BurstIsIgnored(MemoryCoordination):
    """Gives one at a time."""

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Take any burst for one."""
        return super().reserve(key, holder, interval, min(1, burst))


class BurstHasNoEnd(MemoryCoordination):
    """Saves up all that was not used."""

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Take the burst for a start, and as much as may be saved."""
        return super().reserve(key, holder, interval, burst if key not in self._rates else 1000)


class TurnsAreNotRemembered(MemoryCoordination):
    """Gives another rate slot to a holder that asks again."""

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Forget the rate slots."""
        for rate in self._rates.values():
            rate.turns.clear()
        return super().reserve(key, holder, interval, burst)


class TurnsComeForEver(MemoryCoordination):
    """Lets a holder whose rate slot has come pass again and again."""

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Remember what was given."""
        at = self._rates[key].turns.get(holder) if key in self._rates else None
        wait = super().reserve(key, holder, interval, burst)
        if at is not None:
            self._rates[key].turns[holder] = at
        return wait


class ComingAgainCounts(MemoryCoordination):
    """Counts whoever says that it has come."""

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Make another member of each."""
        again = [
            msgspec.structs.replace(one, index=1000 + len(self.barrier_members(one.key)))
            if one.index in self.barrier_members(one.key)
            else one
            for one in arrivals
        ]
        return super().join_barrier(again, ttl)


class LastBodyWins(MemoryCoordination):
    """Replaces what a member brought first."""

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Write it in."""
        counts = super().join_barrier(arrivals, ttl)
        for one in arrivals:
            self._barriers[one.key].members[one.index] = one.body
        return counts


class CountIsOfBefore(MemoryCoordination):
    """Tells how many had come until then."""

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Leave the member itself out."""
        return [count - 1 for count in super().join_barrier(arrivals, ttl)]


class GatheringsStay(MemoryCoordination):
    """Knows no end of a fan-in barrier."""

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Add a day."""
        return super().join_barrier(arrivals, ttl + DAY)


class GatheringsEndWithTheFirst(MemoryCoordination):
    """Counts the time from the first arrival."""

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Put the first end back."""
        ends = {key: barrier.until for key, barrier in self._barriers.items()}
        counts = super().join_barrier(arrivals, ttl)
        for key, end in ends.items():
            self._barriers[key].until = min(end, self._barriers[key].until)
        return counts


class DisbandDoesNothing(MemoryCoordination):
    """Keeps fan-in barriers that are over."""

    def delete_barriers(self, keys: Sequence[str]) -> None:
        """Do nothing."""


class ClearLeavesFlags(MemoryCoordination):
    """It removes all but one kind."""

    def clear(self) -> bool:
        """Put the flag of the test back."""
        kept = self.get_flags(["key"])[0]
        cleared = super().clear()
        self.set_flag("key", kept or b"", 600.0)
        return cleared


class AcquireIsTwoSteps(SqliteCoordination):
    """Looks whether there is room, then goes in."""

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Leave time for another between the two."""
        taken = len(self.barrier_members(f"{key}-holders"))
        threading.Event().wait(0.002)
        if taken >= limit:
            return b"somebody"
        self.join_barrier([BarrierMember(f"{key}-holders", int(holder))], ttl)
        return None

    def release(self, places: Sequence[tuple[str, bytes]]) -> None:
        """Forget everybody."""
        self.delete_barriers([f"{key}-holders" for key, _ in places])


class ReserveIsTwoSteps(SqliteCoordination):
    """Looks when the last rate slot is, then takes the next."""

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Leave time for another between the two."""
        taken = int((self.get_flags([key])[0] or b"0").decode())
        threading.Event().wait(0.002)
        self.set_flag(key, b"%d" % (taken + 1), DAY)
        return max(0.0, (taken - burst + 1) * interval)


class ArriveIsTwoSteps(SqliteCoordination):
    """Writes a member down, then counts."""

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Leave time for another between the two."""
        for one in arrivals:
            super().join_barrier([one], ttl)
        threading.Event().wait(0.002)
        return [len(self.barrier_members(one.key)) for one in arrivals]


class CoordinationIsInMemory(SqliteCoordination):
    """Keeps marks for this process only."""

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Leave out what others would see, but the word to begin."""
        if key == "start":
            super().set_flag(key, value, ttl)
