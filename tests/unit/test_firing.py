"""Which slots are fired, on which queue, and with which delay."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore import App, Config, ScheduleError, SkipTask
from qcore.builtin import plugin as builtin
from qcore.errors import NotSupported
from qcore.hookspecs import hookimpl
from qcore.messages.head import read_head
from qcore.messages.workflow import read_workflow
from qcore.model import State, StoredResult
from qcore.plugins import Plugins
from qcore_schedules import messages
from qcore_schedules import plugin as scheduler
from qcore_schedules.firing import Firing
from qcore_schedules.messages import OpenedSchedule, lateness, slot_id
from qcore_schedules.sealed import stored_schedules
from qcore_testing import plugin as memory
from tests.unit.test_schedules import make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qcore.messages.envelope import Opened
    from qcore.messages.head import Head

pytestmark = pytest.mark.portable


@pytest.fixture
def app() -> Iterator[App]:
    """Yield a producer on an empty queue."""
    made = make()
    yield made
    made.close()


@pytest.fixture
def fire(app: App) -> Iterator[Callable[[], None]]:
    """Yield what fires all that is due, once."""
    firing = Firing(app.runtime)

    def once() -> None:
        with stored_schedules(app.runtime) as store:
            for one in store.claim_due(time.time(), 100, 0.0):
                firing.fire(store, one)

    yield once
    firing.close()


def leased(app: App) -> list[Opened]:
    """Take every message that is ready and return it opened."""
    with app.runtime.brokers.connection() as broker:
        return [app.runtime.envelope.open(one.body) for one in broker.lease(100, 0.0)]


def heads(found: Sequence[Opened]) -> list[Head]:
    """Return the heads of messages."""
    return [read_head(one.head) for one in found]


def due_again(app: App, name: str) -> None:
    """Make the next slot of a schedule have come."""
    one = next(one for one in app.schedules.list() if one.name == name)
    with stored_schedules(app.runtime) as store:
        store.put(attrs.evolve(one, next_run=time.time() - 1))


def ended(app: App, id: bytes, state: State) -> None:
    """Store how a task ended, without giving its place up: as one whose worker died then."""
    runtime = app.runtime
    with runtime.stores.connection() as store:
        store.save([StoredResult(id, state, b"", "a.task", finished=time.time())])


def test_a_slot_is_skipped_while_an_earlier_one_has_not_ended(app: App, fire: Callable[[], None]) -> None:
    """With `skip`, until its permit is released."""
    app.schedules.create("a.task", name="tick", minutes=60, next_run=time.time() - 2 * 3600, overlap="skip")

    fire()
    (first,) = leased(app)
    due_again(app, "tick")
    fire()
    assert leased(app) == []

    (permit,) = read_workflow(first.tail).permits
    with app.runtime.coordination_stores.connection() as store:
        store.release([(permit, first.id)])
    due_again(app, "tick")
    fire()

    (second,) = leased(app)
    assert second.id != first.id
    assert second.derived
    assert heads([second])[0].schedule == "tick"
    assert app.schedules.list()[0].next_run > time.time()


def test_one_slot_waits_while_another_runs(app: App, fire: Callable[[], None]) -> None:
    """With `queue`, and they do not run at the same time."""
    app.schedules.create("a.task", name="tick", minutes=60, next_run=time.time() - 4 * 3600, overlap="queue")

    fire()
    found = leased(app)

    assert len(found) == 2
    assert {(one.concurrency, one.limit_key) for one in heads(found)} == {(1, "schedule:tick")}
    assert [read_workflow(one.tail).permits for one in found] == [["schedule:tick"]] * 2


@pytest.mark.parametrize(("state", "count"), [(State.SUCCESS, 1), (State.FAILED, 1), (State.RETRYING, 0)])
def test_the_permit_of_an_ended_task_is_free(
    app: App, fire: Callable[[], None], state: State, count: int
) -> None:
    """Its worker may have died before releasing it; a task that will run again has not ended."""
    app.schedules.create("a.task", name="tick", minutes=60, next_run=time.time() - 5, overlap="skip")
    fire()
    (first,) = leased(app)
    ended(app, first.id, state)

    due_again(app, "tick")
    fire()

    assert len(leased(app)) == count


@pytest.mark.parametrize("overlap", ["skip", "queue"])
def test_a_purge_lets_the_next_slot_fire(app: App, fire: Callable[[], None], overlap: Any) -> None:
    """However many other tasks are enqueued by then; a task that runs keeps its permit."""
    for name in ("purged", "runs"):
        app.schedules.create("a.task", name=name, minutes=60, overlap=overlap, next_run=time.time() - 5)
        fire()
        if name == "purged":
            for _ in range(1 if overlap == "skip" else 2):
                due_again(app, name)
                fire()
            assert app.queue.purge() == (1 if overlap == "skip" else 2)
    running = leased(app)
    assert len(running) == 1
    assert app.queue.purge() == 0
    app.enqueue("another.task")

    for name in ("purged", "runs"):
        due_again(app, name)
    fire()

    schedules = [head.schedule for head in heads(leased(app))]
    assert sorted(filter(None, schedules)) == (["purged"] if overlap == "skip" else ["purged", "runs"])


def test_a_schedule_whose_task_was_purged_fires_again(app: App, fire: Callable[[], None]) -> None:
    """Its permit is held for a task that does not exist; the permit counts while the queue holds anything."""
    app.schedules.create("a.task", name="tick", minutes=60, next_run=time.time() - 300, overlap="skip")
    fire()
    with app.runtime.brokers.connection() as broker:
        assert broker.purge() == 1
    other = app.enqueue("a.task")
    due_again(app, "tick")
    fire()
    assert app.queue.size().ready == 1

    assert other.cancel()
    due_again(app, "tick")
    fire()

    assert len(leased(app)) == 1


def test_a_permit_acquired_before_a_crash_is_not_lost(app: App, fire: Callable[[], None]) -> None:
    """Whoever fires the slot in the end has the same holder id."""
    made = app.schedules.create("a.task", name="tick", minutes=60, next_run=time.time() - 5, overlap="skip")
    with app.runtime.coordination_stores.connection() as store:
        assert store.acquire("schedule:tick", slot_id(made, made.next_run), 1, 60.0) is None

    fire()

    assert len(leased(app)) == 1


def test_a_schedule_edited_while_it_fires_leaves_no_permit_held(app: App) -> None:
    """Its slots are fired a second later, under their new ids."""
    app.schedules.create("a.task", 1, name="tick", minutes=60, next_run=time.time() - 5, overlap="skip")
    firing = Firing(app.runtime)
    with stored_schedules(app.runtime) as store:
        (claimed,) = store.claim_due(time.time(), 1, 0.0)
        app.schedules.update("tick", args=[2])

        firing.fire(store, claimed)
        assert leased(app) == []
        (edited,) = store.claim_due(time.time(), 1, 0.0)
        firing.fire(store, edited)

    assert len(leased(app)) == 1
    firing.close()


def test_a_task_skipped_by_a_hook_holds_no_permit() -> None:
    """The next slot is not skipped because of it."""

    @hookimpl
    def qcore_pre_enqueue(event: Any) -> None:
        raise SkipTask

    spy = SimpleNamespace(qcore_pre_enqueue=qcore_pre_enqueue)
    app = App(
        Config.from_dict({"name": "plans", "secret_key": "k" * 40, "memory": {}}),
        plugins=Plugins.of({"builtin": builtin, "memory": memory, "schedules": scheduler, "spy": spy}),
    )
    made = app.schedules.create("a.task", name="tick", minutes=60, next_run=time.time() - 5, overlap="skip")
    firing = Firing(app.runtime)
    with stored_schedules(app.runtime) as store:
        firing.fire(store, made)
    with app.runtime.coordination_stores.connection() as results:
        assert results.acquire("schedule:tick", b"another", 1, 60.0) is None
    firing.close()


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({"overlap": "replace"}, "give allow, skip"),
        ({"minutes": 5, "jitter": 301}, "300 seconds apart"),
        ({"minutes": 5, "jitter": -1}, "from 0"),
        ({"cron": "0,10 9 * * *", "jitter": 601}, "600 seconds apart"),
        ({"type": "daily", "jitter": 86401}, "86400 seconds apart"),
        ({"cluster": "no such name"}, "the name of a cluster"),
        ({"q_options": {"sync": True}}, "'sync' has no meaning for a schedule"),
    ],
)
def test_invalid_options_are_refused(app: App, told: dict[str, Any], fault: str) -> None:
    """They are refused at the call."""
    with pytest.raises(ScheduleError, match=fault):
        app.schedules.create("a.task", **told)


def test_jitter_spreads_tasks_evenly_and_is_the_same_whoever_fires_them(app: App) -> None:
    """The delay is derived from the slot's id."""
    made = app.schedules.create("a.task", every=timedelta(seconds=100), jitter=100)

    found = [lateness(made, slot_id(made, float(slot))) for slot in range(2000)]

    assert all(0 <= one < 100 for one in found)
    assert 45 < sum(found) / len(found) < 55
    assert min(found) < 2
    assert max(found) > 98
    assert found[7] == lateness(made, slot_id(made, 7.0))
    assert lateness(attrs.evolve(made, jitter=0.0), slot_id(made, 7.0)) == 0.0


def test_a_jittered_task_waits(app: App, fire: Callable[[], None]) -> None:
    """This holds for a slot, not for a run by hand."""
    made = app.schedules.create("a.task", name="tick", minutes=60, next_run=time.time() - 5, jitter=3600)

    fire()
    size = None
    with app.runtime.brokers.connection() as broker:
        size = broker.size()

    assert (size.ready, size.delayed) == (0, 1)
    by_hand = OpenedSchedule(app.runtime, made).message(0.0, bytes(16))
    assert by_hand is not None
    assert by_hand.delay == 0.0


def test_a_task_is_enqueued_on_the_queue_it_names(app: App, fire: Callable[[], None]) -> None:
    """It is signed with that queue's key; its schedule stays here."""
    app.schedules.create(
        "a.task", name="tick", minutes=60, next_run=time.time() - 5, cluster="mail", overlap="skip"
    )

    fire()

    assert leased(app) == []
    other = app.runtime.of("mail")
    with other.brokers.connection() as broker:
        (found,) = broker.lease(10, 0.0)
    opened = other.envelope.open(found.body)
    tail = read_workflow(opened.tail)
    assert (tail.home, tail.permits) == ("plans", ["schedule:tick@plans"])
    with other.coordination_stores.connection() as store:
        assert store.acquire("schedule:tick@plans", b"another", 1, 60.0) == opened.id
    assert app.schedules.list()[0].cluster == "mail"


def test_equal_schedules_of_two_queues_have_slots_of_their_own(app: App) -> None:
    """Both may enqueue onto one queue, where the id of a task is unique."""
    here = app.schedules.create("a.task", 1, name="tick", next_run=1000.0)
    there = app.for_cluster("mail").schedules.create("a.task", 1, name="tick", next_run=1000.0)

    assert slot_id(here, 1000.0) != slot_id(there, 1000.0)


def test_naming_its_own_queue_changes_nothing(app: App) -> None:
    """It is the same as naming none."""
    assert app.schedules.create("a.task", queue="plans").cluster == ""


def test_a_file_holds_one_queue(tmp_path: Any) -> None:
    """Another queue in the same file could not be distinguished from this one."""
    app = App(Config.from_dict({"name": "plans", "sqlite": {"path": str(tmp_path / "queue.db")}}))

    with pytest.raises(NotSupported, match="a file holds one queue"):
        app.schedules.create("a.task", cluster="mail")
    app.close()


def test_options_of_a_schedule_are_options_of_its_task(app: App) -> None:
    """This holds for a hook, and for what `async_task` takes."""
    made = app.schedules.create("a.task", hook="a.hook", q_options={"timeout": 7, "group": "tens"})

    found = OpenedSchedule(app.runtime, made).message(0.0, bytes(16))
    assert found is not None
    head = read_head(app.runtime.envelope.open(found.body).head)
    assert (head.hook, head.timeout, head.group, head.label) == ("a.hook", 7, "tens", "a.task")


@pytest.mark.parametrize("overlap", ["allow", "queue"])
def test_a_call_is_decoded_once_for_all_slots(monkeypatch: pytest.MonkeyPatch, overlap: Any) -> None:
    """A schedule that catches up a thousand slots decodes its call once."""
    app = make()
    app.schedules.create("a.task", 1, name="tick", minutes=1, next_run=time.time() - 600, overlap=overlap)
    opened = []
    for name in ("read_body", "read_arguments"):
        inner = getattr(messages, name)

        def counted(*args: Any, name: str = name, inner: Callable[..., Any] = inner) -> Any:
            opened.append(name)
            return inner(*args)

        monkeypatch.setattr(messages, name, counted)
    firing = Firing(app.runtime)

    with stored_schedules(app.runtime) as store:
        firing.fire(store, *store.all())

    assert len(leased(app)) == {"allow": 11, "queue": 2}[overlap]
    assert opened == ["read_body", "read_arguments"]
    firing.close()
    app.close()


def test_the_number_of_missed_slots_that_are_not_caught_up_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The oldest slots are left out."""
    app = make(catch_up_limit=3, catch_up_window=3600)
    start = float(int(time.time()) - 600)
    app.schedules.create("a.task", name="tick", minutes=1, next_run=start)
    app.schedules.create("a.task", name="clock", cron="* * * * *", next_run=start - 1800)
    firing = Firing(app.runtime)

    with stored_schedules(app.runtime) as store, caplog.at_level(logging.WARNING):
        for one in store.all():
            firing.fire(store, one)

    assert len(leased(app)) == 6
    told = sorted(record.getMessage() for record in caplog.records)
    assert [text for text in told if "'tick'" in text] == [
        "schedule 'tick': missed slots that are not caught up: 8"
    ]
    assert len(told) == 2
    firing.close()
    app.close()
