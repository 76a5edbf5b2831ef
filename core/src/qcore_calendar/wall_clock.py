"""What a wall clock shows, and when."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

#: Seconds within which no time zone changes its offset twice.
_STRIDE: Final = 43200


def instant(wall: datetime, where: ZoneInfo) -> float:
    """Return when the wall clock shows this, or the end of the gap in which it is skipped.

    Of a time that is shown twice, `fold` says which one is meant, as everywhere in `datetime`.
    """
    shown = wall.replace(tzinfo=where).timestamp()
    if wall_of(shown, where) == wall.replace(fold=0):
        return shown
    # In a gap, fold 1 is counted with the later offset, so it is before the gap.
    before, behind = (wall.replace(tzinfo=where, fold=fold).timestamp() for fold in (1, 0))
    return _change(before, behind, where)


def wall_of(instant: float, where: ZoneInfo) -> datetime:
    """Return what the wall clock shows."""
    return datetime.fromtimestamp(instant, where).replace(tzinfo=None, fold=0)


def offset_of(instant: float, where: ZoneInfo) -> float:
    """Return the seconds by which the wall clock is ahead of UTC."""
    offset = datetime.fromtimestamp(instant, where).utcoffset()
    return offset.total_seconds() if offset else 0.0


def _change(before: float, behind: float, where: ZoneInfo) -> float:
    """Return the first whole second with the later offset, by bisection."""
    low, high, old = int(before), int(behind), offset_of(before, where)
    while high - low > 1:
        middle = (low + high) // 2
        if offset_of(middle, where) == old:
            low = middle
        else:
            high = middle
    return float(high)


def next_change(begin: float, end: float, where: ZoneInfo) -> float | None:
    """Return when the offset changes first in (begin, end], if it does."""
    offset, low = offset_of(begin, where), begin
    while low < end:
        high = min(low + _STRIDE, end)
        if offset_of(high, where) != offset:
            return _change(low, high, where)
        low = high
    return None
