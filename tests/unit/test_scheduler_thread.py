"""How schedules fire, with a queue in memory."""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs
import pytest

from qcore import App, Config
from qcore.builtin import plugin as builtin
from qcore.errors import BackendRejected
from qcore.hookspecs import hookimpl
from qcore.model import Kind, Outcome
from qcore.plugins import Plugins
from qcore.settle import Rules
from qcore.tasks.plan import Planner
from qcore_schedules import plugin as scheduler
from qcore_schedules.messages import OpenedSchedule
from qcore_schedules.quarantine import quarantine_schedule
from qcore_schedules.scheduler_thread import SchedulerThread
from qcore_schedules.sealed import stored_schedules
from qcore_testing import plugin as memory
from qcore_testing.memory.broker import MemoryBroker
from qcore_testing.memory.queue import MemoryQueue
from qcore_testing.memory.schedules import MemorySchedules, ScheduleTable
from tests.integration.land import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from qcore import Schedule
    from qcore.model import Outgoing, QueueSize

#: seconds
WEEK: Final = 604800.0


@pytest.fixture
def app() -> Iterator[App]:
    """Yield a producer on an empty queue."""
    made = App(Config.from_dict({"name": "plans", "secret_key": "k" * 40, "memory": {}}))
    yield made
    made.close()


@pytest.fixture
def keep(app: App) -> Iterator[Any]:
    """Yield what starts a scheduler thread; it is stopped with the test."""
    started: list[SchedulerThread] = []

    def start() -> SchedulerThread:
        started.append(SchedulerThread(app.runtime))
        return started[-1]

    yield start
    for one in started:
        assert one.close(10)


def put(app: App, schedule: Schedule, **fields: Any) -> None:
    """Keep a schedule as a stranger might have left it."""
    with stored_schedules(app.runtime) as store:
        store.put(attrs.evolve(schedule, **fields))


def test_invalid_schedules_are_disabled_and_the_others_fire(
    app: App, keep: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """An invalid rule, time zone or body is logged, and the schedule is disabled."""
    due = time.time() - 5
    put(app, app.schedules.create("a.task", name="a rule", next_run=due), rule="61 * * * *")
    put(app, app.schedules.create("a.task", name="b zone", next_run=due), time_zone="Mars/Base")
    put(app, app.schedules.create("a.task", name="c body", next_run=due), body=b"x" * 80)
    app.schedules.create("a.task", name="e sound", next_run=due, repeats=1)
    keeper = keep()

    until(lambda: app.queue.size().ready == 1, "the sound one to fire")
    until(lambda: app.schedules.list()[-1].repeats == 0)

    found = {one.name[0]: one.fault for one in app.schedules.list()}
    assert "not a rule of a schedule" in found["a"]
    assert "no time zone" in found["b"]
    assert "MalformedMessage" in found["c"]
    assert not found["e"]
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum("is disabled until" in text for text in told) == 3
    assert keeper.last_error == ""


class StrictBroker(MemoryBroker):
    """Takes no message whose delay is longer than a week."""

    #: whether it lets anybody in
    open: ClassVar[bool] = True

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept messages, or refuse them."""
        if not self.open or any(one.delay > WEEK for one in messages):
            msg = "delays by a week at most" if self.open else "the password is wrong"
            raise BackendRejected(msg)
        super().enqueue(messages)

    def size(self) -> QueueSize:
        """Count the messages by state."""
        if not self.open:
            msg = "the password is wrong"
            raise BackendRejected(msg)
        return super().size()


@pytest.fixture
def strict() -> Iterator[App]:
    """Yield a producer whose broker refuses what it cannot do."""
    queue, table = MemoryQueue(), ScheduleTable()

    @hookimpl
    def qcore_brokers() -> dict[str, Any]:
        return {"choosy": lambda settings: StrictBroker(queue, retry=settings.retry, backend="choosy")}

    @hookimpl
    def qcore_schedule_stores() -> dict[str, Any]:
        return {"choosy": lambda _: MemorySchedules(table, backend="elsewhere")}

    spoken = SimpleNamespace(qcore_brokers=qcore_brokers, qcore_schedule_stores=qcore_schedule_stores)
    plugins = Plugins.of({"builtin": builtin, "memory": memory, "schedules": scheduler, "choosy": spoken})
    told = {"name": "plans", "secret_key": "k" * 40, "choosy": {}, "result_store": "memory"}
    made = App(Config.from_dict(told, plugins), plugins=plugins)
    yield made
    made.close()


def test_a_schedule_that_the_broker_refuses_stops_no_other(
    strict: App, caplog: pytest.LogCaptureFixture
) -> None:
    """It is disabled with the broker's reason; those before and after it fire."""
    now = time.time()
    for number, late in enumerate((9, 5, 1)):
        strict.schedules.create("a.task", name=f"good {number}", minutes=60, next_run=now - late)

    def plain() -> None: ...

    plain.__qualname__ = "plain"
    late_task = strict.task(plain).using(delay=WEEK + 1)
    strict.schedules.create(late_task, name="bad", minutes=60, next_run=now - 7)
    keeper = SchedulerThread(strict.runtime)

    until(lambda: strict.queue.size().ready == 3, "the others to fire")
    until(lambda: any(one.fault for one in strict.schedules.list()), "it to be marked")

    assert [one.fault for one in strict.schedules.list() if one.fault] == [
        "BackendRejected: delays by a week at most"
    ]
    assert keeper.last_error == ""
    assert caplog.text.count("is disabled until") == 1
    assert keeper.close(10)


def test_a_broker_that_refuses_everything_disables_no_schedule(
    strict: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password that was changed is not the schedules' fault."""
    monkeypatch.setattr(StrictBroker, "open", False)
    strict.schedules.create("a.task", name="tick", minutes=60, next_run=time.time() - 5)
    keeper = SchedulerThread(strict.runtime)

    until(lambda: keeper.last_error, "it to be told")

    assert keeper.last_error == "the password is wrong"
    assert [one.fault for one in strict.schedules.list()] == [""]
    assert keeper.close(10)


def test_missed_slots_are_caught_up(app: App, keep: Any) -> None:
    """Every slot is, or one where the schedule says so."""
    due = int(time.time()) - 600
    app.schedules.create("a.task", name="all", minutes=2, next_run=due, repeats=4)
    app.schedules.create("a.task", name="one", type="daily", next_run=due - 3 * 86400, catch_up=False)
    keep()

    until(lambda: app.queue.size().ready >= 5, "all of them to fire")

    every, one = app.schedules.list()
    assert app.queue.size().ready == 5
    assert every.repeats == 0
    assert one.next_run == due + 86400


def test_two_clusters_share_the_slots(app: App, keep: Any) -> None:
    """A slot fires once, however many clusters fire schedules."""
    for number in range(150):
        app.schedules.create("a.task", number, name=f"{number:03}", next_run=time.time() - 5)
    keep()
    keep()

    until(lambda: not app.schedules.list(), "all of them to fire")

    assert app.queue.size().ready == 150


def test_a_paused_schedule_does_not_fire(app: App, keep: Any) -> None:
    """Neither does one that is not due."""
    app.schedules.create("a.task", name="paused", minutes=1, next_run=time.time() - 5)
    app.schedules.pause("paused")
    app.schedules.create("a.task", name="later", next_run=time.time() + 3600)
    app.schedules.create("a.task", name="now", next_run=time.time() - 5)
    keep()

    until(lambda: len(app.schedules.list()) == 2, "what is due to fire")

    assert app.queue.size().ready == 1


def fail(app: App, body: bytes, failures: int = 2, **rules: Any) -> Outcome:
    """Have a worker of a queue fail to find the function of a message; return how that is settled."""
    planner = Planner(Rules(**rules), timeout=None, save=True, allowed=None)
    opened = app.runtime.envelope.open(body)
    plan = planner.plan(opened.head)
    plan.find()
    assert plan.missing
    return quarantine_schedule(app.runtime, opened, plan, Outcome(Kind.FAILURE, error=plan.fault), failures)


@pytest.mark.parametrize(
    ("rules", "failures", "marked"),
    [
        ({}, 1, False),
        ({}, 2, True),
        ({"max_attempts": 1}, 0, True),
        ({"max_attempts": 5}, 3, False),
        ({"max_attempts": 5}, 4, True),
        ({"ack_failures": True}, 0, True),
    ],
)
def test_a_slot_is_tried_like_any_task_before_its_schedule_is_disabled(
    app: App, rules: dict[str, Any], failures: int, marked: bool
) -> None:
    """A worker of an earlier release may have leased it, which does not know the function yet."""
    made = app.schedules.create("no.such.function", name="tick", minutes=5)
    sent = OpenedSchedule(app.runtime, made).slot_message(made.next_run)
    assert sent is not None

    ended = fail(app, sent.body, failures, **rules)

    assert ended.retryable is not marked
    assert bool(app.schedules.list()[0].fault) is marked


def test_a_schedule_of_another_queue_is_disabled_where_it_is_stored(app: App) -> None:
    """A worker of the queue that gets its tasks finds that the function is missing."""
    made = app.schedules.create("no.such.function", name="tick", minutes=5, cluster="mail")
    sent = OpenedSchedule(app.runtime, made).slot_message(made.next_run)
    assert sent is not None

    ended = fail(app.for_cluster("mail"), sent.body)

    assert not ended.retryable
    assert app.schedules.list()[0].fault == ended.error


def test_only_the_schedule_that_was_fired_is_disabled(app: App, caplog: pytest.LogCaptureFixture) -> None:
    """One of the same name may call something else by now; the error is reported once."""
    made = app.schedules.create("no.such.function", name="tick", minutes=5)
    sent = OpenedSchedule(app.runtime, made).slot_message(made.next_run)
    assert sent is not None

    app.schedules.update("tick", func="math.sqrt")
    fail(app, sent.body)
    assert app.schedules.list()[0].fault == ""

    app.schedules.update("tick", func="no.such.function")
    for _ in range(2):
        fail(app, sent.body)
    assert "no task 'no.such.function'" in app.schedules.list()[0].fault
    assert caplog.text.count("is disabled until") == 1
    app.schedules.delete("tick")
    assert not fail(app, sent.body).retryable


def test_an_unreachable_queue_holds_up_only_its_own_schedules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are tried again, and those before and after them fire."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "qcore" / "mail.db").mkdir(parents=True)
    app = App(Config.from_dict({"name": "plans", "secret_key": "k" * 40}))
    due = time.time() - 5
    app.schedules.create("a.task", name="elsewhere", next_run=due - 60, cluster="mail")
    app.schedules.create("a.task", name="here", next_run=due)
    keeper = SchedulerThread(app.runtime)

    until(lambda: app.queue.size().ready == 1, "the other to fire")

    assert [one.name for one in app.schedules.list()] == ["elsewhere"]
    assert "schedule 'elsewhere' is skipped" in caplog.text
    assert keeper.close(10)
    app.close()
