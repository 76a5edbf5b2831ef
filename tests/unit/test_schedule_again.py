"""Schedules that a program creates at each start, and first slots that clocks skip."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import attrs
import pytest

from qcore_schedules.sealed import stored_schedules
from qcore_schedules.swap import swap
from tests.unit.test_schedules import in_a, make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore import App, Schedule

pytestmark = pytest.mark.portable

#: a time of the wall clock, as a program gives it
JANUARY = datetime(2026, 1, 31, 9)  # noqa: DTZ001 - that it has no zone is what is tried


@pytest.fixture
def app() -> Iterator[App]:
    """Yield a producer on an empty queue."""
    made = make()
    yield made
    made.close()


def put(app: App, schedule: Schedule, **fields: Any) -> Schedule:
    """Store a schedule as it may have become."""
    after = attrs.evolve(schedule, **fields)
    with stored_schedules(app.runtime) as store:
        store.put(after)
    return after


def hence(hours: float = 1) -> float:
    """Return whole epoch seconds from now."""
    return float(int(in_a(hours).timestamp()))


@pytest.mark.parametrize("first", [JANUARY, 1_767_225_600, JANUARY.replace(tzinfo=UTC)])
@pytest.mark.parametrize("rule", [{"every": 3600}, {"type": "monthly"}, {"cron": "0 9 * * *"}])
def test_the_same_first_slot_given_again_fires_no_slot_again(app: App, first: Any, rule: Any) -> None:
    """A program that gives a constant in the past at each start goes on where the schedule is."""
    given: dict[str, Any] = {"name": "tick", "next_run": first, "repeats": 5, **rule}
    made = app.schedules.create("a.task", 1, **given)
    went_on = put(app, made, next_run=hence(), repeats=3)

    assert app.schedules.create("a.task", 1, **given) == went_on
    again = app.schedules.create("a.task", 2, **given)
    assert (again.next_run, again.anchor, again.repeats) == (went_on.next_run, made.anchor, 3)
    app.schedules.pause("tick")
    again = app.schedules.create("a.task", 1, **given)
    assert (again.repeats, again.kept) == (0, 3)


def test_what_has_ended_does_not_begin_again(app: App) -> None:
    """That holds with and without a first slot; without a limit it goes on from now."""
    for given in ({"next_run": JANUARY}, {}):
        call: dict[str, Any] = {"name": "tick", "every": 3600, "repeats": 5, **given}
        put(app, app.schedules.create("a.task", **call), next_run=hence(-9), repeats=0)

        again = app.schedules.create("a.task", **call)
        assert (again.repeats, again.kept) == (0, 0)

        assert app.schedules.update("tick", repeats=2).next_run > time.time()
        put(app, app.schedules.get("tick"), next_run=hence(-9), repeats=0)
        assert app.schedules.create("a.task", **call | {"repeats": -1}).next_run >= hence(0)
        app.schedules.delete("tick")


def test_another_first_slot_begins_a_new_schedule(app: App) -> None:
    """It fires from there on and is not paused; one that was moved by hand is not moved by a restart."""
    given: dict[str, Any] = {"name": "tick", "every": 3600, "next_run": 1_767_225_600}
    put(app, app.schedules.create("a.task", **given), next_run=hence())
    app.schedules.pause("tick")
    given["next_run"] = 1_767_229_200

    again = app.schedules.create("a.task", **given)
    assert (again.next_run, again.repeats) == (1_767_229_200, -1)

    by_hand = app.schedules.update("tick", next_run=hence(2))
    assert app.schedules.create("a.task", **given) == by_hand


@pytest.mark.parametrize("change", [{"every": 1800}, {"time_zone": "Asia/Tokyo"}])
@pytest.mark.parametrize("left", [-1, 0])
def test_another_rule_with_the_same_first_slot_fires_no_slot_again(app: App, change: Any, left: int) -> None:
    """It goes on with its next slot after those that were fired, one that has ended too."""
    given: dict[str, Any] = {"name": "tick", "next_run": JANUARY, "every": 3600}
    put(app, app.schedules.create("a.task", **given), next_run=hence(0.1), repeats=left)

    again = app.schedules.create("a.task", **given | change)

    assert time.time() < again.next_run <= hence(1.2)
    assert again.repeats == -1


def test_two_programs_that_create_one_schedule_at_once_reset_nothing(app: App) -> None:
    """Between the read and the write of the second, the first has stored it and a slot was fired."""
    with stored_schedules(app.runtime) as store:
        made = app.schedules.create("a.task", name="tick", every=60)
        app.schedules.delete("tick")
        fired = attrs.evolve(made, next_run=made.next_run + 60)
        seen: list[Schedule | None] = []

        def change(before: Schedule | None) -> Schedule:
            if not seen:
                store.put(fired)
            seen.append(before)
            return made if before is None else before

        after, changed = swap(store, "tick", change)

    assert seen == [None, fired]
    assert (after, changed) == (fired, False)


@pytest.mark.parametrize(
    ("kind", "second"),
    [
        ("daily", ["2030-04-01T02:30:00+02:00"]),
        ("weekly", ["2030-04-07T02:30:00+02:00"]),
        ("monthly", ["2030-04-30T02:30:00+02:00"]),
        ("quarterly", ["2030-06-30T02:30:00+02:00"]),
        ("yearly", ["2031-03-31T02:30:00+02:00"]),
        ("once", []),
    ],
)
def test_a_first_slot_that_clocks_skip_moves_no_other(app: App, kind: str, second: list[str]) -> None:
    """It fires at the end of the gap, and the others at the time that was given, as with cron."""
    first = datetime(2030, 3, 31, 2, 30)  # noqa: DTZ001 - as above

    made = app.schedules.create("a.task", name="tick", type=kind, next_run=first)

    shown = [one.isoformat() for one in app.schedules.preview("tick", 2)]
    assert shown == ["2030-03-31T03:00:00+02:00", *second]
    aware = first.replace(tzinfo=ZoneInfo("Europe/Amsterdam"))
    assert app.schedules.create("a.task", name="tick", type=kind, next_run=aware) == made


@pytest.mark.parametrize(
    ("change", "days"),
    [
        ({"time_zone": "Asia/Tokyo"}, [28, 31, 30, 31]),
        ({"type": "bimonthly"}, [28, 30, 30, 31]),
        ({"type": "quarterly"}, [28, 31, 31, 30]),
        ({"type": "yearly"}, [28, 28, 28, 28]),
        ({"every": 86400}, [28, 1, 2, 3]),
    ],
)
def test_a_change_in_a_short_month_keeps_the_day(app: App, change: dict[str, Any], days: list[int]) -> None:
    """A schedule of the 31st whose next slot is on a 28th comes back to the 31st where the rule has one."""
    first = datetime(2030, 1, 31, 9)  # noqa: DTZ001 - as above
    made = app.schedules.create("a.task", name="tick", type="monthly", next_run=first)
    short = app.schedules.preview("tick", 2)[1].timestamp()
    put(app, made, next_run=short)

    after = app.schedules.update("tick", **change)

    assert after.next_run == short
    assert [one.day for one in app.schedules.preview("tick", 4)] == days
