"""Schedules as a program makes them, and the messages of their slots."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import attrs
import pytest

from qcore import App, Config, Schedule, ScheduleError, SkipTask, every
from qcore.builtin import plugin as builtin
from qcore.errors import DecodeError, EncodeError
from qcore.hookspecs import hookimpl
from qcore.plugins import Plugins
from qcore_calendar import rules
from qcore_calendar.slots import CatchUp, due_slots
from qcore_schedules import plugin as scheduler
from qcore_schedules.messages import OpenedSchedule, slot_id
from qcore_schedules.sealed import stored_schedules
from qcore_testing import plugin as memory
from qcore_testing.memory import MemorySchedules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.hookspecs import EnqueueEvent

pytestmark = pytest.mark.portable

SETTINGS = {"name": "plans", "secret_key": "k" * 40, "memory": {}, "time_zone": "Europe/Amsterdam"}


def make(**settings: Any) -> App:
    """Return a producer on a queue of its own."""
    return App(Config.from_dict(SETTINGS | settings))


@pytest.fixture
def app() -> Iterator[App]:
    """Yield a producer on an empty queue."""
    made = make()
    yield made
    made.close()


def in_a(hour: float = 1) -> datetime:
    """Return a time from now."""
    return datetime.now(UTC) + timedelta(hours=hour)


def stamp(when: datetime) -> float:
    """Return whole epoch seconds."""
    return float(int(when.timestamp()))


def opened(app: App, schedule: Schedule, slot: float = 0.0) -> tuple[Any, Any]:
    """Return the head's bytes and the arguments of a slot's message."""
    made = OpenedSchedule(app.runtime, schedule).message(slot, bytes(16))
    assert made is not None
    got = app.runtime.envelope.open(made.body)
    return got.head, app.runtime.serializer.loads(got.arguments) if got.arguments else None


@pytest.mark.parametrize(
    ("told", "rule"),
    [
        ({}, "once"),
        ({"type": "once"}, "once"),
        ({"every": timedelta(seconds=90)}, "every 90"),
        ({"minutes": 5}, "every 300"),
        ({"every": 60}, "every 60"),
        ({"every": 60.0}, "every 60"),
        ({"type": "minutes"}, "every 60"),
        ({"type": "minutes", "minutes": 2}, "every 120"),
        ({"type": "quarterly"}, "quarterly"),
        ({"cron": "*/5 * * * *"}, "*/5 * * * *"),
        ({"type": "cron", "cron": "0 3 * * *"}, "0 3 * * *"),
    ],
)
def test_a_rule_is_given_in_many_ways(app: App, told: dict[str, Any], rule: str) -> None:
    """The calls of Django-Q and an interval."""
    made = app.schedules.create("math.sqrt", 4, **told)

    assert made.rule == rule
    assert [made] == list(app.schedules.list())
    assert (made.name, made.task, made.time_zone) == ("math.sqrt", "math.sqrt", "Europe/Amsterdam")


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({"type": "fortnightly"}, "type='fortnightly' is not a type of schedule"),
        ({"type": "cron"}, "no cron"),
        ({"type": "daily", "cron": "* * * * *"}, "one rule"),
        ({"every": timedelta(days=1), "minutes": 3}, "one rule"),
        ({"cron": "61 * * * *"}, "not a rule of a schedule"),
        ({"cron": "daily"}, "say type='daily'"),
        ({"minutes": 0}, "minutes=0: schedules count whole seconds"),
        ({"minutes": "5"}, "minutes='5': give a number"),
        ({"every": 0}, "every=0: schedules count whole seconds"),
        ({"every": 1.5}, "every=1.5: schedules count whole seconds"),
        ({"every": float("nan")}, "every=nan: schedules count whole seconds"),
        ({"every": 1e12}, "at most 999999999"),
        ({"every": "60"}, "every='60': give a timedelta, or seconds"),
        ({"every": True}, "every=True: give a timedelta"),
        ({"cron": 5}, "cron=5: give an expression"),
        ({"cron": ""}, "'' is not a rule of a schedule"),
        ({"repeats": -2}, "repeats=-2: give a whole number of slots; -1 means no limit"),
        ({"repeats": "5"}, "repeats='5': give a whole number"),
        ({"repeats": None}, "repeats=None: give a whole number"),
        ({"repeats": 1.5}, "repeats=1.5: give a whole number"),
        ({"jitter": "5"}, "jitter='5': give a number of seconds"),
        ({"jitter": float("nan")}, "jitter=nan: slots of"),
        ({"time_zone": timezone(timedelta(hours=1))}, "give a name such as 'Europe/Paris'"),
        ({"time_zone": 5}, "no time zone 5; give a name"),
        ({"catch_up": "no"}, "catch_up='no': give True, False"),
        ({"intended_date_kwarg": 5}, "intended_date_kwarg=5: give the name of an argument"),
        ({"name": 5}, "5 is not a name of a schedule"),
        ({"time_zone": "Mars/Base"}, "no time zone"),
        ({"next_run": "soon"}, "next_run='soon': give seconds since 1970 or a datetime"),
        ({"next_run": True}, "next_run=True: give seconds"),
        (
            {"next_run": 1767225600000},
            "next_run=1767225600000 is not in the years .* give seconds since 1970 or a",
        ),
        ({"next_run": float("nan")}, "next_run=nan is not in the years"),
        ({"next_run": float("inf")}, "next_run=inf is not in the years"),
        ({"next_run": -1e12}, "next_run=-1000000000000.0 is not in the years"),
        ({"next_run": datetime(9999, 12, 31, tzinfo=UTC)}, "is not in the years 1 to 8999"),
        ({"name": "a\nb"}, "not a name of a schedule"),
        ({"name": "a" * 201}, "not a name of a schedule"),
    ],
)
def test_an_invalid_schedule_is_refused(app: App, told: dict[str, Any], fault: str) -> None:
    """It is refused at the call, not when it should fire."""
    with pytest.raises(ScheduleError, match=fault):
        app.schedules.create("math.sqrt", 4, **told)

    assert list(app.schedules.list()) == []


def test_the_first_slot_is_now_or_next_run(app: App) -> None:
    """A time without a time zone is on the schedule's own wall clock."""
    before = int(time.time())

    assert before <= app.schedules.create("math.sqrt", 4, type="daily").next_run <= time.time()
    said = app.schedules.create("math.sqrt", 4, type="daily", next_run=datetime(2030, 7, 1, 9, 30))  # noqa: DTZ001 - what is tried
    assert said.next_run == said.anchor == datetime(2030, 7, 1, 7, 30, tzinfo=UTC).timestamp()
    yearly = app.schedules.create("math.sqrt", 4, name="y", cron="0 0 1 1 *")
    assert yearly.next_run > time.time()


def test_an_argument_that_cannot_be_serialised_is_refused_at_once(app: App) -> None:
    """It is not found out when the slot is due."""
    with pytest.raises(EncodeError):
        app.schedules.create("math.sqrt", object())


def test_a_task_keeps_its_options(app: App) -> None:
    """Its label is the schedule's name unless it has one."""
    made = app.schedules.create("math.pow", 2, 3, name="powers")

    head, arguments = opened(app, made)

    assert b"powers" in head
    assert arguments == [2, 3]


def test_the_time_of_a_slot_is_an_argument_if_asked_for(app: App) -> None:
    """It is ISO 8601 on the schedule's wall clock, beside the other arguments."""
    made = app.schedules.create("a.task", 1, b=2, intended_date_kwarg="when")

    _, arguments = opened(app, made, datetime(2026, 7, 1, 7, 0, tzinfo=UTC).timestamp())

    assert arguments == [[1], {"b": 2, "when": "2026-07-01T09:00:00+02:00"}]


def test_a_serializer_that_runs_code_gets_no_time_of_a_slot() -> None:
    """A supervisor never decodes what could run code."""
    app = make(serializer="pickle", accept_serializers=["pickle"])

    with pytest.raises(ScheduleError, match="can run code"):
        app.schedules.create("a.task", intended_date_kwarg="when")
    assert opened(app, app.schedules.create("a.task", 1))[1] == [1]


def test_a_serializer_that_is_no_longer_accepted_is_an_error(app: App) -> None:
    """The schedule is disabled, with the reason."""
    made = app.schedules.create("a.task", 1)
    other = make(serializer="json")

    with pytest.raises(DecodeError, match="which `accept_serializers` does not list"):
        OpenedSchedule(other.runtime, made).message(0.0, bytes(16))


def test_hooks_see_the_task_of_a_slot_and_may_skip_it() -> None:
    """They do so with any other task."""

    @hookimpl
    def qcore_pre_enqueue(event: EnqueueEvent) -> None:
        if event.task.args == (0,):
            raise SkipTask
        event.headers["trace"] = f"of {event.task.name}"

    spy = SimpleNamespace(qcore_pre_enqueue=qcore_pre_enqueue)
    plugins = Plugins.of({"builtin": builtin, "memory": memory, "schedules": scheduler, "spy": spy})
    app = App(Config.from_dict(SETTINGS), plugins=plugins)

    assert b"of a.task" in opened(app, app.schedules.create("a.task", 1))[0]
    assert OpenedSchedule(app.runtime, app.schedules.create("a.task", 0)).message(0.0, bytes(16)) is None


def test_a_slot_has_one_id(app: App) -> None:
    """It is the same whoever fires it, and another for each slot, name and body."""
    one, other = app.schedules.create("a.task", name="one"), app.schedules.create("a.task", name="other")

    ids = {slot_id(one, 1e9), slot_id(one, 1e9 + 1), slot_id(other, 1e9), slot_id(one, 1e9)}

    assert len(ids) == 3
    assert all(len(id_) == 16 for id_ in ids)
    assert slot_id(one, 1e9)[:6] < slot_id(one, 1e9 + 1)[:6]


def test_missed_slots_are_caught_up_where_that_is_asked_for(app: App) -> None:
    """All of them are, oldest first, or one and then the next."""
    made = app.schedules.create("a.task", every=timedelta(seconds=10), next_run=1000.0)

    all_, after = due_slots(made, 1035.0, CatchUp(), 100)
    one, later = due_slots(made, 1035.0, CatchUp(each=False), 100)
    own, _ = due_slots(attrs.evolve(made, catch_up=False), 1035.0, CatchUp(), 100)

    assert all_ == [1000.0, 1010.0, 1020.0, 1030.0]
    assert one == own == [1000.0]
    assert after == later == attrs.evolve(made, next_run=1040.0)


@pytest.mark.parametrize("rule", ["* * * * *", "every 1", "daily", "0 3 * * *"])
def test_a_window_shorter_than_the_rule_needs_no_search(
    app: App, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest missed slot is found backwards from now."""
    now = 1_767_225_690.5
    made = attrs.evolve(
        app.schedules.create("a.task"), rule=rule, next_run=now // 60 * 60 - 30 * 86400, anchor=0.0
    )
    walked = rules.slots(rules.parse(rule), now - 2 * 86400, rules.zone(made.time_zone), 0.0)
    *_, newest = itertools.takewhile(lambda slot: slot <= now, walked)
    asked = []
    real = rules.next_slot

    def spied(*told: Any) -> float | None:
        asked.append(told)
        return real(*told)

    monkeypatch.setattr(rules, "next_slot", spied)
    slots, after = due_slots(made, now, CatchUp(window=0.2), 100)

    assert slots == [newest]
    assert after is not None
    assert after.next_run > now
    assert len(asked) < 60


def test_slots_beyond_one_step_are_fired_in_the_next(app: App) -> None:
    """No slot is lost between the two."""
    made = app.schedules.create("a.task", every=timedelta(seconds=10), next_run=1000.0)

    slots, after = due_slots(made, 1035.0, CatchUp(), 3)

    assert slots == [1000.0, 1010.0, 1020.0]
    assert after == attrs.evolve(made, next_run=1030.0)


def test_repeats_are_counted_down(app: App) -> None:
    """With the last one the schedule has ended; missed slots count too."""
    made = app.schedules.create("a.task", every=timedelta(seconds=10), next_run=1000.0, repeats=3)

    slots, after = due_slots(made, 1015.0, CatchUp(), 100)
    assert (slots, after) == ([1000.0, 1010.0], attrs.evolve(made, next_run=1020.0, repeats=1))
    assert after is not None
    slots, done = due_slots(after, 1999.0, CatchUp(), 100)
    assert (slots, done) == ([1020.0], attrs.evolve(after, repeats=0, kept=0))


def test_a_schedule_that_fires_once_is_removed_or_kept_as_ended(app: App) -> None:
    """Without a number of repeats it is removed, with one it stays."""
    made = app.schedules.create("a.task", next_run=1000.0)

    assert due_slots(made, 5000.0, CatchUp(), 9) == ([1000.0], None)
    _, kept = due_slots(attrs.evolve(made, repeats=1), 5000.0, CatchUp(), 9)
    assert kept == attrs.evolve(made, repeats=0)


def test_a_resumed_schedule_continues_with_its_next_slot(app: App) -> None:
    """It has as many repeats as before; missed slots are not caught up."""
    app.schedules.create("a.task", name="tick", minutes=1, next_run=1000.0, repeats=5)

    assert app.schedules.pause("tick").repeats == 0
    assert app.schedules.pause("tick").repeats == 0
    resumed = app.schedules.resume("tick")

    assert (resumed.repeats, resumed.kept) == (5, 0)
    assert time.time() < resumed.next_run <= time.time() + 60
    assert [resumed] == list(app.schedules.list())


def test_a_schedule_that_has_ended_is_not_resumed(app: App) -> None:
    """It has no slots left."""
    app.schedules.create("a.task", name="tick")
    with stored_schedules(app.runtime) as store:
        store.put(attrs.evolve(store.all()[0], repeats=0))

    with pytest.raises(ScheduleError, match="has ended"):
        app.schedules.resume("tick")


def test_a_disabled_schedule_is_resumed(app: App) -> None:
    """That is done once its error is fixed."""
    made = app.schedules.create("a.task", name="tick", next_run=in_a())
    with stored_schedules(app.runtime) as store:
        store.put(attrs.evolve(made, fault="no such thing"))

    assert app.schedules.resume("tick") == made


def test_scheduling_the_same_again_changes_no_slot(app: App) -> None:
    """A program may schedule at each start; what was paused by hand stays paused."""
    first = app.schedules.create("a.task", 1, name="tick", minutes=60, next_run=in_a(0.5))

    again = app.schedules.create("a.task", 2, name="tick", minutes=60)
    assert (again.next_run, again.anchor) == (first.next_run, first.anchor)
    assert opened(app, again)[1] == [2]

    app.schedules.pause("tick")
    assert app.schedules.create("a.task", 2, name="tick", minutes=60).repeats == 0
    assert app.schedules.resume("tick") == again
    assert app.schedules.create("a.task", name="tick", minutes=30).next_run <= time.time()
    app.schedules.pause("tick")
    other = app.schedules.create("a.task", name="tick", minutes=20)
    assert (other.rule, other.repeats, other.kept) == ("every 1200", 0, -1)
    assert len(app.schedules.list()) == 1


def test_scheduling_the_same_again_does_not_reset_the_count(app: App) -> None:
    """Nor while it is paused; a lower number counts, and another rule has its own count."""
    said: dict[str, Any] = {"name": "tick", "minutes": 60}
    made = app.schedules.create("a.task", repeats=5, **said)
    with stored_schedules(app.runtime) as store:
        store.put(attrs.evolve(made, repeats=2))

    assert app.schedules.create("a.task", repeats=5, **said).repeats == 2
    app.schedules.pause("tick")
    for repeats, kept in ((5, 2), (1, 1)):
        again = app.schedules.create("a.task", repeats=repeats, **said)
        assert (again.repeats, again.kept) == (0, kept)
    other = app.schedules.create("a.task", name="tick", minutes=30, repeats=5)
    assert (other.repeats, other.kept) == (0, 5)
    assert app.schedules.resume("tick").repeats == 5


def test_a_schedule_is_run_now(app: App) -> None:
    """Its slots stay as they are."""
    made = app.schedules.create("a.task", 1, name="tick", next_run=in_a())

    job = app.schedules.run("tick")

    assert app.queue.size().ready == 1
    assert len(job.id) == 32
    assert [made] == list(app.schedules.list())


def test_slots_can_be_previewed(app: App) -> None:
    """Those of a schedule, and of a rule that is not stored."""
    app.schedules.create(
        "a.task",
        name="twice",
        type="daily",
        repeats=2,
        next_run=datetime(2030, 3, 30, 2, 30),  # noqa: DTZ001 - what is tried
    )

    shown = [when.isoformat() for when in app.schedules.preview("twice")]

    assert shown == ["2030-03-30T02:30:00+01:00", "2030-03-31T03:00:00+02:00"]
    assert len(app.schedules.preview("*/5 * * * *", 3)) == 3
    assert app.schedules.preview("every 60", 1, time_zone="UTC")[0].utcoffset() == timedelta(0)
    assert app.schedules.preview("every 60", 0) == []
    with pytest.raises(ScheduleError, match="not a rule"):
        app.schedules.preview("nothing")
    with pytest.raises(ScheduleError, match="count=-1: give a whole number of slots"):
        app.schedules.preview("twice", -1)


def test_an_interval_may_be_given_in_seconds() -> None:
    """A number together with the words for it is ambiguous."""
    assert [str(every(one).rule()) for one in (60, 60.0, timedelta(minutes=1))] == ["every 60"] * 3
    assert str(every(timedelta(minutes=1), seconds=30).rule()) == "every 90"
    with pytest.raises(ScheduleError, match="is given seconds twice"):
        every(60, minutes=1)
    for none in ("60", 0, None):
        with pytest.raises(ScheduleError, match="every="):
            every(none)  # type: ignore[arg-type]  # what is tried


def test_a_time_zone_may_be_given_as_an_object(app: App) -> None:
    """It is stored by its name."""
    made = app.schedules.create("a.task", name="tick", type="daily", time_zone=ZoneInfo("Asia/Tokyo"))

    assert made.time_zone == "Asia/Tokyo"
    assert app.schedules.update("tick", time_zone=ZoneInfo("Europe/Paris")).time_zone == "Europe/Paris"


def test_a_change_of_one_schedule_reads_no_other(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """That holds however many there are."""
    app.schedules.create("a.task", name="tick", minutes=5)

    def read(_: MemorySchedules) -> None:
        pytest.fail("all schedules are read")

    monkeypatch.setattr(MemorySchedules, "all", read)

    app.schedules.create("a.task", name="tick", minutes=5)
    app.schedules.create("a.task", name="other", minutes=5)
    app.schedules.update("tick", jitter=1)
    app.schedules.pause("tick")
    app.schedules.resume("tick")
    app.schedules.run("tick")
    assert len(app.schedules.preview("tick", 3)) == 3
    with pytest.raises(ScheduleError, match="no schedule"):
        app.schedules.pause("a name from a broken terminal \udcff")


def test_a_schedule_is_removed(app: App) -> None:
    """The result says whether there was one."""
    app.schedules.create("a.task", name="tick")

    assert app.schedules.delete("tick") is True
    assert app.schedules.delete("tick") is False
    for verb in (app.schedules.pause, app.schedules.resume, app.schedules.run):
        with pytest.raises(ScheduleError, match="no schedule 'tick'"):
            verb("tick")
