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

import attrs
from cronsim import CronSim, CronSimError

from qcore.errors import ScheduleError
from qcore_calendar.wall_clock import instant, next_change, offset_of, wall_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

#: Slots that are compared to find the shortest time between two: a week of hours.
_SAMPLE: Final = 168

#: rules that count calendar days, and rules that count calendar months
_DAYS: Final = MappingProxyType({"daily": 1, "weekly": 7, "biweekly": 14})
_MONTHS: Final = MappingProxyType({"monthly": 1, "bimonthly": 2, "quarterly": 3, "yearly": 12})
#: rules that are one word
NAMES: Final = ("once", "hourly", *_DAYS, *_MONTHS)
#: the longest fixed interval, seconds: as many digits as the pattern below allows
_LONGEST: Final = 999_999_999
_EVERY: Final = re.compile(r"every ([1-9]\d{0,8})")
#: Steps of a rule back to a day that a short month or a skipped hour does not have.
_BACK: Final = 60
#: The year in which rules end.
_LAST_YEAR: Final = 9000


@attrs.frozen
class Rule:
    """A parsed rule; made by `parse`."""

    #: as stored: `every N` seconds, one of `NAMES`, or a cron expression
    text: str
    #: a fixed interval, seconds; 0 = the rule follows the wall clock
    seconds: int = 0
    days: int = 0
    months: int = 0
    cron: bool = False

    def __str__(self) -> str:
        return self.text


def every(interval: timedelta | float, said: str = "every") -> Rule:
    """Return the rule that fires at this fixed interval.

    Args:
        interval: a timedelta, or seconds.
        said: the name of the argument, for errors; with `minutes` the number counts minutes.

    Raises:
        ScheduleError: it is not a whole number of seconds, or less than one.

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
    """Return whether a value is a number; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@lru_cache(maxsize=1024)
def parse(text: str) -> Rule:
    """Parse a rule.

    Raises:
        ScheduleError: it is not valid.

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
            f"{text!r} is not a rule of a schedule ({why}); "
            f"give a cron expression, `every N` or one of {', '.join(NAMES)}"
        )
        raise ScheduleError(msg) from exc
    return Rule(text, cron=True)


def zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        ScheduleError: there is no time zone of this name.

    """
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - most programs have no schedules, and all start faster

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError, AttributeError) as exc:
        msg = f"there is no time zone {name!r}; give a name such as 'Europe/Paris'"
        raise ScheduleError(msg) from exc


def next_slot(rule: Rule, after: float, where: ZoneInfo, anchor: float) -> float | None:
    """Return the first slot later than `after`, None if there is none.

    A rule that follows the wall clock fires once at each of its times: a time that the clocks skip
    fires at the first instant after the gap, a time that they show twice fires the first time. A
    fixed interval does not depend on clocks.

    Args:
        rule: the rule.
        after: epoch seconds.
        where: time zone of the wall clock.
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
        # The calendar of `datetime` ends with the year 9999.
        return None


def slots(rule: Rule, after: float, where: ZoneInfo, anchor: float) -> Iterator[float]:
    """Yield the slots later than `after`, in order."""
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


def anchor_for(rule: Rule, wall: datetime, where: ZoneInfo, first: float) -> float:
    """Return an instant from which a calendar rule counts the same times of the wall clock.

    A time that the clocks skip on its first day has no instant, but an earlier day has one.

    Args:
        rule: the rule; any other than a calendar rule counts from its first slot.
        wall: the first time.
        where: time zone of the wall clock.
        first: the first slot, epoch seconds.

    """
    if not (rule.days or rule.months) or wall_of(first, where) == wall.replace(fold=0):
        return first
    return _earlier(rule, wall.replace(fold=0), wall.day, where, first)


def moved_anchor(rule: Rule, first: float, where: ZoneInfo, old: float) -> float:
    """Return an instant from which months are counted from a planned slot, on the day of an old anchor.

    The planned slot may be in a month that is too short for that day.
    """
    return (
        _earlier(rule, wall_of(first, where), wall_of(old, where).day, where, first) if rule.months else first
    )


def _earlier(rule: Rule, wall: datetime, day: int, where: ZoneInfo, first: float) -> float:
    """Return the latest earlier time whose rule has this first slot, or the slot itself."""
    for count in range(_BACK):
        if rule.days:
            found = wall - timedelta(days=count * rule.days)
        else:
            year, month = divmod(wall.year * 12 + wall.month - 1 - count * rule.months, 12)
            if calendar.monthrange(year, month + 1)[1] < day:
                continue
            found = wall.replace(year=year, month=month + 1, day=day)
        start = found.replace(tzinfo=where).timestamp()
        if (
            start <= first
            and wall_of(start, where) == found
            and (start == first or next_slot(rule, first - 1, where, start) == first)
        ):
            return start
    return first


def _on_the_calendar(rule: Rule, after: float, where: ZoneInfo, anchor: float) -> float | None:
    first, now = wall_of(anchor, where), wall_of(after, where)
    if rule.days:
        count = (now - first).days // rule.days
    else:
        count = ((now.year - first.year) * 12 + now.month - first.month) // rule.months
    # One less, because a clock that was set back may have shown a later day already.
    count = max(1, count - 1)
    while (wall := _date(rule, first, count)).year < _LAST_YEAR:
        if (slot := instant(wall, where)) > after:
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
    """Return whether an expression means an interval, not times of the day, as Debian's cron decides it."""
    minute, hour = text.split()[-5:-3]
    return minute.startswith("*") or hour.startswith("*")


def _on_the_clock(text: str, after: float, where: ZoneInfo) -> float:
    """Return the next slot of an expression that means times of the day."""
    for wall in CronSim(text, wall_of(after, where)):
        if (slot := instant(wall, where)) > after:
            return slot
    raise StopIteration


def _running(text: str, after: float, where: ZoneInfo) -> float:
    """Return the next instant at which the wall clock shows what the expression says."""
    begin, shown = after, wall_of(after, where)
    while True:
        # Up to the next change of the offset, instants and the wall clock advance together.
        offset = offset_of(begin, where)
        wall = next(CronSim(text, shown))
        slot = wall.replace(tzinfo=UTC).timestamp() - offset
        change = next_change(begin, slot, where)
        if change is None:
            return slot
        begin = change
        # One second earlier, because the change itself may be a slot.
        shown = datetime.fromtimestamp(change - 1 + offset_of(change, where), UTC).replace(tzinfo=None)
