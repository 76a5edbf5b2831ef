"""When a schedule fires: rules as text, slots as epoch seconds."""

from __future__ import annotations

import calendar
import itertools
import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import attrs
from cronsim import CronSim, CronSimError

from qcore.errors import ScheduleError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Slots looked at to tell how far apart those of a rule are: a week of the hours of a day.
_SAMPLE: Final = 168

#: what counts days on the calendar, and what counts months
_DAYS: Final = MappingProxyType({"daily": 1, "weekly": 7, "biweekly": 14})
_MONTHS: Final = MappingProxyType({"monthly": 1, "bimonthly": 2, "quarterly": 3, "yearly": 12})
#: the rules that are one word
NAMES: Final = ("once", "hourly", *_DAYS, *_MONTHS)
#: the longest real cadence, seconds: what the pattern below has digits for
_LONGEST: Final = 999_999_999
_EVERY: Final = re.compile(r"every ([1-9]\d{0,8})")
#: No zone changes its offset twice within this time, seconds.
_STRIDE: Final = 43200
#: Slots of this many years are on the calendar, those beyond are not.
_LAST_YEAR: Final = 9000


@attrs.frozen
class Rule:
    """A rule that was understood; made by `parse`."""

    #: as it is stored: `every N` seconds, one of `NAMES`, or a cron expression
    text: str
    #: a real cadence, seconds; 0 = it follows the wall clock
    seconds: int = 0
    days: int = 0
    months: int = 0
    cron: bool = False

    def __str__(self) -> str:
        return self.text


def every(interval: timedelta | float, said: str = "every") -> Rule:
    """Return the rule that fires at this real cadence.

    Args:
        interval: a time, or seconds.
        said: the argument that was given, for the error; `minutes` counts them.

    Raises:
        ScheduleError: it is no whole number of seconds, or less than one.

    """
    if isinstance(interval, timedelta):
        seconds = interval.total_seconds()
    elif is_number(interval):
        seconds = round(interval * 60, 6) if said == "minutes" else interval
    else:
        msg = f"{said}={interval!r}: give {'a number' if said == 'minutes' else 'a timedelta, or seconds'}"
        raise ScheduleError(msg)
    if not 1 <= seconds <= _LONGEST or seconds != int(seconds):
        msg = f"{said}={interval!r}: schedules count whole seconds, at least 1 and at most {_LONGEST}"
        raise ScheduleError(msg)
    return parse(f"every {int(seconds)}")


def is_number(value: object) -> bool:
    """Return whether a value is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@lru_cache(maxsize=1024)
def parse(text: str) -> Rule:
    """Read a rule.

    Raises:
        ScheduleError: it is none.

    """
    if text == "once":
        return Rule(text)
    if text == "hourly":
        return Rule(text, seconds=3600)
    if text in _DAYS:
        return Rule(text, days=_DAYS[text])
    if text in _MONTHS:
        return Rule(text, months=_MONTHS[text])
    if found := _EVERY.fullmatch(text):
        return Rule(text, seconds=int(found[1]))
    try:
        next(CronSim(text, datetime(2000, 1, 1)))  # noqa: DTZ001 - any wall clock will do
    except (CronSimError, StopIteration, ValueError) as exc:
        why = str(exc) or "no day is ever like that"
        msg = (
            f"{text!r} is no rule of a schedule ({why}); "
            f"give a cron expression, `every N` or one of {', '.join(NAMES)}"
        )
        raise ScheduleError(msg) from exc
    return Rule(text, cron=True)


def zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        ScheduleError: there is none of this name.

    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError, AttributeError) as exc:
        msg = f"there is no time zone {name!r}; give a name such as 'Europe/Paris'"
        raise ScheduleError(msg) from exc


def next_slot(rule: Rule, after: float, where: ZoneInfo, anchor: float) -> float | None:
    """Return the first slot later than `after`, None if there is none.

    A rule that follows the wall clock fires once on each of its times: one the clocks skip
    comes at the first instant behind the gap, one they show twice the first time. A real
    cadence knows no clock.

    Args:
        rule: what to follow.
        after: epoch seconds.
        where: whose wall clock.
        anchor: the first slot, from which intervals and calendars count; whole epoch seconds.

    """
    try:
        if rule.cron:
            steady = _is_steady(rule.text)
            return _running(rule.text, after, where) if steady else _on_the_clock(rule.text, after, where)
        if after < anchor:
            return anchor
        if rule.seconds:
            return anchor + ((after - anchor) // rule.seconds + 1) * rule.seconds
        return _on_the_calendar(rule, after, where, anchor) if rule.days or rule.months else None
    except (StopIteration, OverflowError):
        # The calendar of datetime ends with the year 9999.
        return None


def slots(rule: Rule, after: float, where: ZoneInfo, anchor: float) -> Iterator[float]:
    """Yield the slots later than `after`, in their order."""
    slot = next_slot(rule, after, where, anchor)
    while slot is not None:
        yield slot
        slot = next_slot(rule, slot, where, anchor)


def step(rule: Rule, where: ZoneInfo, anchor: float) -> float:
    """Return the shortest time between two slots, seconds; infinite if there is only one."""
    if rule.seconds:
        return float(rule.seconds)
    found = list(itertools.islice(slots(rule, anchor, where, anchor), _SAMPLE))
    return min((after - before for before, after in itertools.pairwise(found)), default=math.inf)


# -- wall clocks ------------------------------------------------------------------------------------


def _wall(instant: float, where: ZoneInfo) -> datetime:
    """Return what the clock on the wall shows."""
    return datetime.fromtimestamp(instant, where).replace(tzinfo=None, fold=0)


def _offset(instant: float, where: ZoneInfo) -> float:
    offset = datetime.fromtimestamp(instant, where).utcoffset()
    return offset.total_seconds() if offset else 0.0


def _instant(wall: datetime, where: ZoneInfo) -> float:
    """Return when the wall clock first shows this, or the end of the gap that it skips it in."""
    aware = wall.replace(tzinfo=where, fold=0)
    instant = aware.timestamp()
    if _wall(instant, where) == wall:
        return instant
    # In a gap, fold 1 is counted with the later offset and so lies before the gap.
    return _change(wall.replace(tzinfo=where, fold=1).timestamp(), instant, where)


def _change(before: float, behind: float, where: ZoneInfo) -> float:
    """Return the first whole second with the later offset, by bisection."""
    low, high, old = int(before), int(behind), _offset(before, where)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, where) == old:
            low = middle
        else:
            high = middle
    return float(high)


def _on_the_calendar(rule: Rule, after: float, where: ZoneInfo, anchor: float) -> float | None:
    first, now = _wall(anchor, where), _wall(after, where)
    if rule.days:
        count = (now - first).days // rule.days
    else:
        count = ((now.year - first.year) * 12 + now.month - first.month) // rule.months
    # One before: a clock that was set back may have shown a later day already.
    count = max(1, count - 1)
    while (wall := _date(rule, first, count)).year < _LAST_YEAR:
        if (slot := _instant(wall, where)) > after:
            return slot
        count += 1
    return None


def _date(rule: Rule, first: datetime, count: int) -> datetime:
    """Count from the anchor, not from the last slot, so that a 31st and a 29th of February come back."""
    if rule.days:
        return first + timedelta(days=count * rule.days)
    year, month = divmod(first.year * 12 + first.month - 1 + count * rule.months, 12)
    day = min(first.day, calendar.monthrange(year, month + 1)[1])
    return first.replace(year=year, month=month + 1, day=day)


# -- cron -------------------------------------------------------------------------------------------


def _is_steady(text: str) -> bool:
    """Whether an expression names a cadence, not times of the day: as Debian's cron tells them apart."""
    minute, hour = text.split()[-5:-3]
    return minute.startswith("*") or hour.startswith("*")


def _on_the_clock(text: str, after: float, where: ZoneInfo) -> float:
    """Return the next of some times of the day."""
    for wall in CronSim(text, _wall(after, where)):
        if (slot := _instant(wall, where)) > after:
            return slot
    raise StopIteration


def _running(text: str, after: float, where: ZoneInfo) -> float:
    """Return the next instant at which the wall clock shows what the expression says."""
    begin, shown = after, _wall(after, where)
    while True:
        # Up to the next change of the offset, instants and the wall clock run alike.
        offset = _offset(begin, where)
        wall = next(CronSim(text, shown))
        slot = wall.replace(tzinfo=UTC).timestamp() - offset
        change = _next_change(begin, slot, where)
        if change is None:
            return slot
        begin = change
        # One second before: the change itself may be a slot.
        shown = datetime.fromtimestamp(change - 1 + _offset(change, where), UTC).replace(tzinfo=None)


def _next_change(begin: float, end: float, where: ZoneInfo) -> float | None:
    """Return when the offset changes first in (begin, end], if it does."""
    offset, low = _offset(begin, where), begin
    while low < end:
        high = min(low + _STRIDE, end)
        if _offset(high, where) != offset:
            return _change(low, high, where)
        low = high
    return None
