"""How an edit changes a schedule."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore import App, Config, Retry, ScheduleError
from qcore.messages.head import Head, read_head
from qcore_calendar.slots import CatchUp, due_slots
from qcore_schedules.messages import OpenedSchedule
from qcore_schedules.sealed import stored_schedules
from tests.unit.test_schedules import make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore import Schedule

pytestmark = pytest.mark.portable


@pytest.fixture
def app() -> Iterator[App]:
    """Yield a producer on an empty queue."""
    made = make()
    yield made
    made.close()


def called(app: App, one: Schedule) -> tuple[Head, Any]:
    """Return the head and the arguments of a schedule's task."""
    sent = OpenedSchedule(app.runtime, one).message(0.0, bytes(16))
    assert sent is not None
    got = app.runtime.envelope.open(sent.body)
    return read_head(got.head), app.runtime.serializer.loads(got.arguments) if got.arguments else None


def test_parts_that_are_not_named_stay(app: App) -> None:
    """Rule, slot, arguments, options."""
    made = app.schedules.create(
        "a.task", 1, name="tick", minutes=5, next_run=1e9, q_options={"timeout": 7}, hook="a.hook", deep=True
    )

    one = app.schedules.update("tick", jitter=60, overlap="skip", catch_up=False)

    assert one == attrs.evolve(made, jitter=60.0, overlap="skip", catch_up=False, body=one.body)
    head, arguments = called(app, one)
    assert (head.timeout, head.hook, head.label) == (7, "a.hook", "tick")
    assert arguments == [[1], {"deep": True}]
    assert [one] == list(app.schedules.list())


def test_parts_of_a_call_are_changed_separately(app: App) -> None:
    """Positional arguments, named ones, the function, its options."""
    app.schedules.create("a.task", 1, name="tick", deep=True)

    assert called(app, app.schedules.update("tick", args=[2]))[1] == [[2], {"deep": True}]
    assert called(app, app.schedules.update("tick", kwargs={}))[1] == [2]
    head, arguments = called(app, app.schedules.update("tick", func="b.task", q_options={"group": "g"}))
    assert (head.name, head.group, head.label, arguments) == ("b.task", "g", "tick", [2])
    assert app.schedules.list()[0].task == "b.task"


def test_another_function_keeps_the_options_of_the_schedule(app: App) -> None:
    """It does not keep those of the old task; those of the new task come first."""

    def plain() -> None: ...

    plain.__qualname__ = "plain"
    old = app.task(concurrency=2, retry=Retry(max_attempts=3))(plain)
    told = {"group": "g", "timeout": 30, "task_name": "mine", "save": False}
    app.schedules.create(old, name="tick", hook="a.hook", q_options=told)

    head, _ = called(app, app.schedules.update("tick", func="b.task"))
    assert (head.name, head.hook, head.group, head.timeout) == ("b.task", "a.hook", "g", 30)
    assert (head.label, head.save, head.concurrency, head.max_attempts) == ("mine", False, None, None)
    new = app.task(timeout=9, group="own")(plain)
    head, _ = called(app, app.schedules.update("tick", func=new))
    assert (head.hook, head.group, head.timeout) == ("a.hook", "own", 9)


def test_a_declared_task_brings_its_options(app: App) -> None:
    """As when it is scheduled."""

    def plain() -> None: ...

    plain.__qualname__ = "plain"
    task = app.task(timeout=9, retry=Retry(max_attempts=2))(plain)
    app.schedules.create("a.task", name="tick")

    head, _ = called(app, app.schedules.update("tick", func=task))

    assert (head.timeout, head.max_attempts) == (9, 2)


def test_a_new_rule_counts_from_the_next_slot(app: App) -> None:
    """A cron expression has its own times, and `next_run` comes first."""
    soon = float(int(time.time()) + 1000)
    app.schedules.create("a.task", name="tick", minutes=60, next_run=soon)

    one = app.schedules.update("tick", every=timedelta(minutes=7))
    assert (one.rule, one.next_run, one.anchor) == ("every 420", soon, soon)
    one = app.schedules.update("tick", cron="0 3 * * *", time_zone="UTC")
    assert datetime.fromtimestamp(one.next_run, UTC).hour == 3
    one = app.schedules.update("tick", type="monthly", next_run=datetime(2030, 1, 31, tzinfo=UTC))
    assert one.next_run == one.anchor == datetime(2030, 1, 31, tzinfo=UTC).timestamp()
    one = app.schedules.update("tick", jitter=5)
    assert one.rule == "monthly"


def test_a_new_rule_catches_up_no_missed_slots(app: App) -> None:
    """It begins now."""
    app.schedules.create("a.task", name="tick", minutes=60, next_run=1000)

    assert app.schedules.update("tick", minutes=1).next_run >= time.time() - 2


def test_a_paused_schedule_stays_paused(app: App) -> None:
    """It is resumed with the edited parts."""
    app.schedules.create("a.task", name="tick", minutes=5, repeats=9)
    app.schedules.pause("tick")

    one = app.schedules.update("tick", minutes=6)
    assert (one.repeats, one.kept) == (0, 9)
    one = app.schedules.update("tick", repeats=3)
    assert (one.repeats, one.kept) == (0, 3)
    assert app.schedules.resume("tick").repeats == 3
    one = app.schedules.update("tick", repeats=0)
    assert (one.repeats, one.kept) == (0, 3)


def done(app: App, **told: Any) -> Schedule:
    """Return a schedule that has fired its only slot just now, as it is kept."""
    made = app.schedules.create("a.task", name="tick", next_run=int(time.time()) - 5, repeats=1, **told)
    _, after = due_slots(made, time.time(), CatchUp(), 9)
    assert after is not None
    assert (after.repeats, after.kept) == (0, 0)
    with stored_schedules(app.runtime) as store:
        store.put(after)
    return after


@pytest.mark.parametrize("arguments", [{}, {"args": ["new"]}])
def test_an_ended_schedule_with_new_repeats_fires_new_slots(app: App, arguments: dict[str, Any]) -> None:
    """It does not fire those again that it has fired; a new rule counts from now."""
    before = done(app, minutes=1)

    one = app.schedules.update("tick", repeats=2, **arguments)

    assert (one.repeats, one.kept) == (2, 0)
    assert (one.next_run, one.anchor) == (before.next_run + 60, before.anchor)
    app.schedules.delete("tick")
    before = done(app, minutes=1)
    one = app.schedules.update("tick", repeats=2, minutes=2)
    assert before.next_run < one.next_run <= time.time()


def test_an_ended_schedule_stays_ended_unless_it_is_given_slots(app: App) -> None:
    """A rule that has no more slots is an error."""
    done(app, type="once")

    assert app.schedules.update("tick", jitter=0, repeats=0).repeats == 0
    with pytest.raises(ScheduleError, match="has fired the last slot of its rule 'once'; give next_run="):
        app.schedules.update("tick", repeats=2)
    assert app.schedules.update("tick", repeats=2, next_run=2e9).next_run == 2e9


def test_a_disabled_schedule_is_tried_again_after_an_edit(app: App) -> None:
    """Whoever edits it has seen its error."""
    made = app.schedules.create("a.task", name="tick")
    with stored_schedules(app.runtime) as store:
        store.put(attrs.evolve(made, fault="no such task"))

    assert app.schedules.update("tick", func="b.task").fault == ""


@pytest.mark.parametrize("way", ["resumed", "edited", "scheduled anew"])
def test_slots_missed_by_a_disabled_schedule_are_not_caught_up(app: App, way: str) -> None:
    """That holds however it is fixed; a slot that is still to come stays."""
    soon = float(int(time.time()) + 1000)
    ways = {
        "resumed": lambda: app.schedules.resume("tick"),
        "edited": lambda: app.schedules.update("tick", args=[1]),
        "scheduled anew": lambda: app.schedules.create("a.task", 1, name="tick", minutes=1),
    }
    for slot in (soon, float(int(time.time()) - 3600 * 5)):
        made = app.schedules.create("a.task", name="tick", minutes=1, next_run=slot)
        with stored_schedules(app.runtime) as store:
            store.put(attrs.evolve(made, fault="no such task"))

        one = ways[way]()

        assert (one.fault, one.anchor) == ("", slot)
        assert one.next_run == soon or time.time() < one.next_run <= time.time() + 60


def test_queue_and_priority_may_be_set_to_their_defaults(app: App) -> None:
    """A head has no room for them, so they came as if they had not been given."""
    app.schedules.create("a.task", name="tick", queue="mail", priority=5)

    head, _ = called(app, app.schedules.update("tick", priority=0))
    assert (head.queue, head.priority) == ("mail", None)
    head, _ = called(app, app.schedules.update("tick", queue="default", priority=-3))
    assert (head.queue, head.priority) == (None, -3)
    head, _ = called(app, app.schedules.update("tick", func="b.task", queue="default", priority=0))
    assert (head.name, head.queue, head.priority) == ("b.task", None, None)


def test_it_may_move_to_another_cluster_and_back(app: App) -> None:
    """None means its own."""
    app.schedules.create("a.task", name="tick")

    assert app.schedules.update("tick", cluster="mail").cluster == "mail"
    assert app.schedules.update("tick", jitter=0).cluster == "mail"
    assert app.schedules.update("tick", cluster=None).cluster == ""


def test_an_invalid_change_is_refused(app: App) -> None:
    """Nothing is changed."""
    made = app.schedules.create("a.task", name="tick", minutes=5)

    with pytest.raises(TypeError, match="not a part of a schedule: 'colour'; there are args, catch_up"):
        app.schedules.update("tick", colour="red")
    with pytest.raises(TypeError, match="'name'"):
        app.schedules.update("tick", name="tock")
    with pytest.raises(ScheduleError, match="no schedule 'tock'"):
        app.schedules.update("tock", jitter=1)
    with pytest.raises(ScheduleError, match="300 seconds apart"):
        app.schedules.update("tick", jitter=301)
    with pytest.raises(ScheduleError, match="one rule"):
        app.schedules.update("tick", minutes=5, cron="* * * * *")
    assert [made] == list(app.schedules.list())


def test_arguments_that_are_not_decoded_here_are_replaced_whole() -> None:
    """Those of a serializer that can run code are decoded only by workers."""
    app = App(
        Config.from_dict(
            {
                "name": "plans",
                "secret_key": "k" * 40,
                "memory": {},
                "serializer": "pickle",
                "accept_serializers": ["pickle"],
            }
        )
    )
    app.schedules.create("a.task", 1, name="tick", minutes=5)

    with pytest.raises(ScheduleError, match="give both args= and kwargs="):
        app.schedules.update("tick", args=[2])
    one = app.schedules.update("tick", args=[2], kwargs={})
    assert called(app, one)[1] == [2]
    assert called(app, app.schedules.update("tick", jitter=1))[1] == [2]


def test_a_task_with_conflicting_limits_cannot_be_scheduled(app: App) -> None:
    """The error says what to use instead, at a new schedule and at an edit."""

    def plain() -> None: ...

    plain.__qualname__ = "plain"
    unique, limited = app.task(unique=True)(plain), app.task(concurrency=2)(plain)
    app.schedules.create(limited, name="limited")
    app.schedules.create("a.task", name="queued", overlap="queue")
    kept = list(app.schedules.list())
    with pytest.raises(ScheduleError, match="use overlap='skip'"):
        app.schedules.create(unique)
    with pytest.raises(ScheduleError, match="use overlap='skip'"):
        app.schedules.update("limited", func=unique)
    with pytest.raises(ScheduleError, match="overlap='queue' lets one task run"):
        app.schedules.create(limited, overlap="queue")
    with pytest.raises(ScheduleError, match="overlap='queue' lets one task run"):
        app.schedules.update("limited", overlap="queue")
    with pytest.raises(ScheduleError, match="overlap='queue' lets one task run"):
        app.schedules.update("queued", func=limited)
    assert kept == list(app.schedules.list())
