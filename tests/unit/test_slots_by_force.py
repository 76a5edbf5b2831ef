"""Slots of eighteen zones against a count minute by minute."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from qcore_calendar.rules import parse, slots

pytestmark = pytest.mark.portable

#: with half hours, two hours, gaps at midnight, a day that was left out, and some that never change
ZONES: Final = (
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Europe/Amsterdam",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
    "UTC",
)
TIMES: Final = ("0 0 * * *", "30 2 * * *", "15,45 1-3 * * *", "0 9,17 * * 1-5", "59 23 1-7 * *")
STEADY: Final = ("*/20 * * * *", "7 */2 * * *", "* 2 * * *", "0 * * * 0", "*/15 0-3 * * *")
MINUTE: Final = timedelta(minutes=1)
BEGIN, END = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1985, 2037))


class Window:
    """Three days of a zone's wall clock, minute by minute."""

    def __init__(self, name: str, middle: int) -> None:
        self.where = ZoneInfo(name)
        self.start, self.end = middle - 36 * 3600, middle + 36 * 3600
        #: a day more at either end, so that each gap and repetition is seen whole
        instants = range(self.start - 86400, self.end + 86400, 60)
        self.shown = [(self._wall(instant), float(instant)) for instant in instants]
        self.first: dict[datetime, float] = {}
        for wall, instant in self.shown:
            self.first.setdefault(wall, instant)
        begin, end = self.shown[0][0], self.shown[-1][0]
        #: each minute of the calendar, shown or not
        self.walls = [begin + MINUTE * count for count in range((end - begin) // MINUTE + 1)]

    def _wall(self, instant: int) -> datetime:
        return datetime.fromtimestamp(instant, self.where).replace(tzinfo=None)

    def once(self, wall: datetime) -> float:
        """Return when a time is first shown, or the end of the gap that leaves it out."""
        if wall in self.first:
            return self.first[wall]
        pairs = zip(self.shown, self.shown[1:], strict=False)
        return next(instant for (before, _), (after, instant) in pairs if before < wall < after)

    def within(self, found: set[float]) -> list[float]:
        """Return the slots of the three days."""
        return sorted(slot for slot in found if self.start < slot <= self.end)


def windows(name: str) -> list[Window]:
    """Return a sample of the changes of a zone's clock, and of other days."""
    chance, where = random.Random(name), ZoneInfo(name)
    days = range(BEGIN, END, 86400)
    offsets = [datetime.fromtimestamp(day, where).utcoffset() for day in days]
    changes = [day for day, old, new in zip(days, offsets, offsets[1:], strict=False) if old != new]
    if name == "Pacific/Apia":
        changes = [int(datetime(2011, 12, 30, tzinfo=UTC).timestamp()), *chance.sample(changes, 2)]
    picked = chance.sample(changes, min(3, len(changes)))
    return [Window(name, day) for day in (*picked, chance.choice(days))]


def read(text: str) -> list[set[int]]:
    """Return the values that each field of a cron expression names."""
    found = []
    for field, most in zip(text.split(), (59, 23, 31, 12, 6), strict=True):
        values: set[int] = set()
        for part in field.split(","):
            span, _, step = part.partition("/")
            low, _, high = span.partition("-")
            ends = (0, most) if span == "*" else (int(low), int(high or low))
            values.update(range(ends[0], ends[1] + 1, int(step or 1)))
        found.append(values)
    return found


def says(fields: list[set[int]], wall: datetime) -> bool:
    """Return whether an expression names this minute."""
    minutes, hours, days, months, weekdays = fields
    return (
        wall.minute in minutes
        and wall.hour in hours
        and wall.day in days
        and wall.month in months
        and wall.isoweekday() % 7 in weekdays
    )


@pytest.mark.parametrize("name", ZONES)
def test_slots_are_those_that_a_count_finds(name: str) -> None:
    """Cron expressions, calendars and intervals, on days when clocks change and on others."""
    for window in windows(name):
        for text in (*TIMES, *STEADY):
            fields = read(text)
            if text in STEADY:
                wanted = {instant for wall, instant in window.shown if says(fields, wall)}
            else:
                wanted = {window.once(wall) for wall in window.walls if says(fields, wall)}
            found = slots(parse(text), window.start, window.where, window.start)
            assert list(takewhile(lambda slot, end=window.end: slot <= end, found)) == window.within(  # type: ignore[misc]  # bound now
                wanted
            ), (text, window.start)
        for text, days in (("daily", 1), ("weekly", 7), ("biweekly", 14)):
            # counted from a time of day weeks before, which may be left out or repeated in between
            for minutes in (0, 30, 150, 23 * 60 + 59):
                first = (window.shown[0][0] - 28 * timedelta(days=1)).replace(hour=0, minute=0)
                first += timedelta(minutes=minutes)
                anchor = first.replace(tzinfo=window.where).timestamp()
                if datetime.fromtimestamp(anchor, window.where).replace(tzinfo=None) != first:
                    continue
                walls = (first + timedelta(days=days * count) for count in range(60))
                inside = [wall for wall in walls if window.shown[0][0] < wall < window.shown[-1][0]]
                found = slots(parse(text), window.start, window.where, anchor)
                got = list(takewhile(lambda slot, end=window.end: slot <= end, found))  # type: ignore[misc]  # as above
                assert got == window.within({window.once(wall) for wall in inside}), (text, first)
        anchor = window.start - 12345
        found = slots(parse("every 5400"), window.start, window.where, anchor)
        wanted = {float(anchor + 5400 * count) for count in range(80)}
        assert list(takewhile(lambda slot, end=window.end: slot <= end, found)) == window.within(wanted)  # type: ignore[misc]  # as above
