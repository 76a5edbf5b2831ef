"""Slots on every clock: gaps, repeated hours, short months, long absences."""

from __future__ import annotations

import bisect
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.errors import ScheduleError
from qcore_calendar.rules import every, next_slot, parse, slots, zone
from qcore_calendar.slots import missed_slots

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.portable

ZONES: Final = {
    name: ZoneInfo(name) for name in ("Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe")
}


def transitions(where: ZoneInfo) -> list[float]:
    """Return every change of the offset from 1970 to 2037, to the second."""
    found = []
    week = 604_800
    end = int(datetime(2038, 1, 1, tzinfo=UTC).timestamp())
    old = offset(0, where)
    for low in range(0, end, week):
        if offset(low + week, where) != old:
            quarters = range(low, low + week + 1, 900)
            number = bisect.bisect_left(quarters, True, key=lambda t, old=old: offset(t, where) != old)  # type: ignore[misc]  # bound now
            found.append(float(quarters[number]))
            old = offset(low + week, where)
    return found


def offset(instant: float, where: ZoneInfo) -> float:
    """Return seconds east of Greenwich."""
    return datetime.fromtimestamp(instant, where).utcoffset().total_seconds()  # type: ignore[union-attr]  # aware


CHANGES: Final = [(name, change) for name, where in ZONES.items() for change in transitions(where)]


def at(text: str, where: str = "UTC", fold: int = 0) -> float:
    """Return an instant by the wall clock of a zone."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(where), fold=fold).timestamp()


def shown(rule: str, after: str, where: str, count: int, anchor: str | None = None) -> list[str]:
    """Return the next slots as the wall clock and its offset show them."""
    start = at(after, where)
    found = slots(parse(rule), start, ZoneInfo(where), at(anchor, where) if anchor else start)
    return [
        datetime.fromtimestamp(slot, ZoneInfo(where)).isoformat(timespec="minutes")
        for slot in itertools.islice(found, count)
    ]


def test_a_months_31st_returns_to_the_31st() -> None:
    """A short month takes its last day, and the next long one the 31st again."""
    expected = ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]

    assert expected == [day[:10] for day in shown("monthly", "2026-01-31T09:00", "UTC", 4)]


def test_the_29th_of_february_comes_back() -> None:
    """A yearly schedule of a leap day is on the 28th in other years only."""
    expected = ["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]

    assert expected == [day[:10] for day in shown("yearly", "2024-02-29T09:00", "UTC", 4)]
    assert ["2028-02-29", "2032-02-29"] == [
        day[:10] for day in shown("0 9 29 2 *", "2024-02-29T09:00", "UTC", 2)
    ]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("daily", ["2026-01-16", "2026-01-17"]),
        ("weekly", ["2026-01-22", "2026-01-29"]),
        ("biweekly", ["2026-01-29", "2026-02-12"]),
        ("monthly", ["2026-02-15", "2026-03-15"]),
        ("bimonthly", ["2026-03-15", "2026-05-15"]),
        ("quarterly", ["2026-04-15", "2026-07-15"]),
        ("yearly", ["2027-01-15", "2028-01-15"]),
        ("0 12 * * SUN", ["2026-01-18", "2026-01-25"]),
    ],
)
def test_each_rule_keeps_its_step(rule: str, expected: list[str]) -> None:
    """Django-Q's names mean what they say."""
    assert [f"{day}T12:00+00:00" for day in expected] == shown(rule, "2026-01-15T12:00", "UTC", 2)


@pytest.mark.parametrize(
    ("where", "day", "gap", "expected"),
    [
        ("Europe/Amsterdam", "2026-03-29", "02:30", "03:00+02:00"),
        ("America/New_York", "2026-03-08", "02:30", "03:00-04:00"),
        ("Australia/Lord_Howe", "2026-10-04", "02:15", "02:30+11:00"),
    ],
)
def test_a_time_the_clocks_skip_fires_at_once_after_the_gap(
    where: str, day: str, gap: str, expected: str
) -> None:
    """That holds for a calendar and for cron, and the day after fires at the usual time again."""
    hour, minute = gap.split(":")
    before = (datetime.fromisoformat(f"{day}T{gap}") - timedelta(days=1)).isoformat()
    after = (datetime.fromisoformat(f"{day}T{gap}") + timedelta(days=1)).isoformat(timespec="minutes")

    for rule in ("daily", f"{minute} {hour} * * *"):
        first, second = shown(rule, before, where, 2)
        assert f"{day}T{expected}" == first
        assert second.startswith(after)


@pytest.mark.parametrize(
    ("where", "day", "twice", "expected"),
    [
        ("Europe/Amsterdam", "2026-10-25", "02:30", "02:30+02:00"),
        ("America/New_York", "2026-11-01", "01:30", "01:30-04:00"),
        ("Australia/Lord_Howe", "2026-04-05", "01:45", "01:45+11:00"),
    ],
)
def test_a_time_the_clocks_show_twice_fires_once(where: str, day: str, twice: str, expected: str) -> None:
    """It fires the first time, and not the second."""
    hour, minute = twice.split(":")
    before = (datetime.fromisoformat(f"{day}T{twice}") - timedelta(days=1)).isoformat()

    for rule in ("daily", f"{minute} {hour} * * *"):
        first, second = shown(rule, before, where, 2)
        assert f"{day}T{expected}" == first
        assert not second.startswith(day)


def test_a_fixed_interval_does_not_depend_on_clocks() -> None:
    """Hours, seconds and minutes continue through a change of the clocks."""
    expected = ["01:00+02:00", "02:00+02:00", "02:00+01:00", "03:00+01:00"]

    for rule in ("hourly", "every 3600", "0 * * * *", "0 */1 * * *"):
        found = shown(rule, "2026-10-25T00:00", "Europe/Amsterdam", 4)
        assert expected == [time.partition("T")[2] for time in found]


def test_a_steady_expression_restricted_to_an_hour_survives_half_an_hours_shift() -> None:
    """Lord Howe's clocks move by 30 minutes; hours after the change are found nevertheless."""
    found = shown("*/30 5 * * *", "2026-10-04T00:00", "Australia/Lord_Howe", 2)

    assert ["2026-10-04T05:00+11:00", "2026-10-04T05:30+11:00"] == found


def test_the_second_showing_of_an_hour_is_found_though_the_rule_sleeps_all_winter() -> None:
    """A change of the clocks is seen even when the next match of the wall clock is months away."""
    where = ZoneInfo("Europe/Amsterdam")
    after = at("2026-10-25T02:50", "Europe/Amsterdam")

    found = next_slot(parse("*/10 2 * 6-10 *"), after, where, after)

    assert found == at("2026-10-25T02:00", "Europe/Amsterdam", fold=1)


@given(
    st.sampled_from(CHANGES),
    st.integers(0, 86399),
    st.sampled_from(["daily", "weekly", "cron"]),
)
def test_wall_clock_rules_fire_once_a_day_around_every_change(
    change: tuple[str, float], second: int, rule: str
) -> None:
    """On each day one slot: at its time, or, in a gap, at the change."""
    name, moment = change
    where = ZONES[name]
    wall = datetime.fromtimestamp(moment - 14 * 86400, where).replace(tzinfo=None)
    wall = wall.replace(hour=0, minute=0, second=0) + timedelta(minutes=second // 60)
    anchor = wall.replace(tzinfo=where).timestamp()
    text = f"{wall.minute} {wall.hour} * * *" if rule == "cron" else rule

    found = list(itertools.islice(slots(parse(text), anchor, where, anchor), 4 if rule == "weekly" else 28))

    assert sorted(set(found)) == found
    step = timedelta(days=7 if rule == "weekly" else 1)
    for number, slot in enumerate(found, 1):
        usual = (wall + number * step).replace(tzinfo=where)
        if usual.astimezone(UTC).astimezone(where).replace(tzinfo=None) == usual.replace(tzinfo=None):
            assert slot == usual.timestamp()
        else:
            assert offset(slot - 1, where) != offset(slot, where)


@given(st.sampled_from(CHANGES), st.sampled_from(["*/7 * * * *", "15 */2 * * *", "*/20 1-3 * * *"]))
def test_steady_rules_fire_whenever_the_clock_shows_it(change: tuple[str, float], text: str) -> None:
    """Compared minute by minute with what the wall clock shows around the change."""
    name, moment = change
    where = ZONES[name]
    begin, end = moment // 60 * 60 - 6 * 3600, moment // 60 * 60 + 6 * 3600
    fits: Callable[[datetime], bool] = {
        "*/7 * * * *": lambda wall: wall.minute % 7 == 0,
        "15 */2 * * *": lambda wall: wall.minute == 15 and wall.hour % 2 == 0,
        "*/20 1-3 * * *": lambda wall: wall.minute % 20 == 0 and 1 <= wall.hour <= 3,
    }[text]
    walls = ((begin + 60 * n, datetime.fromtimestamp(begin + 60 * n, where)) for n in range(721))

    # offsets of a whole number of minutes only: before 1980 all three zones have them too
    expected = [instant for instant, wall in walls if fits(wall)]

    found = itertools.takewhile(lambda slot: slot <= end, slots(parse(text), begin - 1, where, begin))
    assert expected == list(found)


@given(st.integers(0, 2**31), st.integers(1, 10**6), st.floats(0, 10**7))
def test_an_interval_counts_from_its_anchor(anchor: int, step: int, later: float) -> None:
    """The next slot is a whole number of steps from the anchor, later than now, by one step at most."""
    after = anchor + later
    found = next_slot(parse(f"every {step}"), after, ZoneInfo("UTC"), float(anchor))

    assert found is not None
    assert (found - anchor) % step == 0
    assert after < found <= after + step


def test_missed_slots_are_caught_up_oldest_first() -> None:
    """Every slot from the first to now is."""
    found = missed_slots(parse("every 60"), 1000.0, 1200.0, ZoneInfo("UTC"), 1000.0, bound=9)

    assert [1000.0, 1060.0, 1120.0, 1180.0] == found


@pytest.mark.parametrize("rule", ["every 1", "* * * * * *", "*/2 * * * *", "hourly"])
def test_of_too_many_missed_slots_the_newest_are_fired(rule: str) -> None:
    """The limit holds however long it was."""
    now = at("2026-06-01T00:00")

    found = missed_slots(parse(rule), now - 10**8, now, ZoneInfo("UTC"), now - 10**8, bound=100)

    assert found == sorted(set(found))
    assert len(found) == 100
    assert now - 3600 <= found[-1] <= now


def test_of_slots_missed_long_ago_only_the_newest_is_fired() -> None:
    """Nothing older than the window is caught up, unless there is nothing younger."""
    now = at("2026-06-20T00:00")
    utc = ZoneInfo("UTC")

    daily = missed_slots(
        parse("daily"), now - 30 * 86400, now, utc, now - 30 * 86400, bound=9, window=7 * 86400.0
    )
    first = at("2026-01-01T00:00")
    monthly = missed_slots(parse("monthly"), first, now, utc, first, bound=9, window=7 * 86400.0)

    assert [now - day * 86400 for day in (6, 5, 4, 3, 2, 1, 0)] == daily
    assert [at("2026-06-01T00:00")] == monthly


def test_a_rule_that_fires_once_is_caught_up_once() -> None:
    """That holds however long ago it was due."""
    utc = ZoneInfo("UTC")

    assert [5.0] == missed_slots(parse("once"), 5.0, 10.0**9, utc, 5.0, bound=9, window=60.0)
    assert next_slot(parse("once"), 5.0, utc, 5.0) is None


@pytest.mark.parametrize(
    "text", ["", "dayly", "every 0", "every -1", "every 1.5", "61 * * * *", "* * * *", "0 0 31 2 *"]
)
def test_an_invalid_rule_is_refused(text: str) -> None:
    """The error repeats it and lists what there is."""
    with pytest.raises(ScheduleError, match=r"is not a rule of a schedule \(.+\); give a cron expression"):
        parse(text)


def test_intervals_are_whole_seconds() -> None:
    """A fraction of a second is more than a schedule promises."""
    assert every(timedelta(minutes=5)).text == "every 300"
    for wrong in (timedelta(0), timedelta(seconds=-5), timedelta(milliseconds=1500)):
        with pytest.raises(ScheduleError, match="whole seconds"):
            every(wrong)


def test_a_zone_has_a_name() -> None:
    """An unknown one is refused with its name."""
    assert zone("Europe/Paris").key == "Europe/Paris"
    with pytest.raises(ScheduleError, match="no time zone 'Mars/Base'"):
        zone("Mars/Base")
