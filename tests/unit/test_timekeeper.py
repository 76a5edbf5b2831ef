"""Firing, with a queue in memory."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore import App, Config
from qcore.messages.envelope import read_head
from qcore.model import Kind, Outcome
from qcore.schedules.condemn import condemn
from qcore.schedules.scheduled import slot_message
from qcore.schedules.timekeeper import Timekeeper
from tests.integration.land import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qcore import Schedule


@pytest.fixture
def app() -> Iterator[App]:
    """Yield a producer on an empty queue."""
    made = App(Config.from_dict({"name": "plans", "secret_key": "k" * 40, "memory": {}}))
    yield made
    made.close()


@pytest.fixture
def keep(app: App) -> Iterator[Any]:
    """Yield what starts a timekeeper; it is stopped with the test."""
    started: list[Timekeeper] = []

    def start() -> Timekeeper:
        started.append(Timekeeper(app.runtime))
        return started[-1]

    yield start
    for one in started:
        assert one.close(10)


def put(app: App, schedule: Schedule, **fields: Any) -> None:
    """Keep a schedule as a stranger might have left it."""
    with app.runtime.schedulers.lend() as store:
        store.add(attrs.evolve(schedule, **fields))


def test_broken_schedules_are_marked_and_the_others_fire(
    app: App, keep: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A rule, a zone, a body that are none: each is told, passed over and rests."""
    due = time.time() - 5
    put(app, app.schedule("a.task", name="a rule", next_run=due), rule="61 * * * *")
    put(app, app.schedule("a.task", name="b zone", next_run=due), time_zone="Mars/Base")
    put(app, app.schedule("a.task", name="c body", next_run=due), body=b"x" * 80)
    altered = app.schedule("a.task", name="d altered", next_run=due)
    put(app, altered, body=altered.body + b"x")
    app.schedule("a.task", name="e sound", next_run=due, repeats=1)
    keeper = keep()

    until(lambda: app.queue_size() == 1, "the sound one to fire")
    until(lambda: app.schedules()[-1].repeats == 0)

    found = {one.name[0]: one.fault for one in app.schedules()}
    assert "no rule of a schedule" in found["a"]
    assert "no time zone" in found["b"]
    assert "BadSignature" in found["d"]
    assert not found["e"]
    # signed with a key that another cluster may have: it is nobody's to condemn
    assert not found["c"]
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum("is broken and rests" in text for text in told) == 3
    assert sum("is passed over" in text for text in told) >= 1
    assert keeper.trouble == ""


def test_what_was_missed_is_made_up_for(app: App, keep: Any) -> None:
    """Every slot, or one where the schedule says so."""
    due = int(time.time()) - 600
    app.schedule("a.task", name="all", minutes=2, next_run=due, repeats=4)
    app.schedule("a.task", name="one", type="daily", next_run=due - 3 * 86400, catch_up=False)
    keep()

    until(lambda: app.queue_size() >= 5, "all of them to fire")

    every, one = app.schedules()
    assert app.queue_size() == 5
    assert every.repeats == 0
    assert one.next_run == due + 86400


def test_two_who_fire_share_the_slots(app: App, keep: Any) -> None:
    """A slot fires once, however many look."""
    for number in range(150):
        app.schedule("a.task", number, name=f"{number:03}", next_run=time.time() - 5)
    keep()
    keep()

    until(lambda: not app.schedules(), "all of them to fire")

    assert app.queue_size() == 150


def test_a_paused_schedule_does_not_fire(app: App, keep: Any) -> None:
    """Nor one that is not due."""
    app.schedule("a.task", name="paused", minutes=1, next_run=time.time() - 5)
    app.pause("paused")
    app.schedule("a.task", name="later", next_run=time.time() + 3600)
    app.schedule("a.task", name="now", next_run=time.time() - 5)
    keep()

    until(lambda: len(app.schedules()) == 2, "what is due to fire")

    assert app.queue_size() == 1


def test_a_schedule_of_another_queue_is_marked_where_it_is_kept(app: App) -> None:
    """A worker of the queue its tasks are put on finds that the function is not there."""
    made = app.schedule("no.such.function", name="tick", minutes=5, cluster="mail")
    there = app.runtime.of("mail")
    sent = slot_message(app.runtime, made, made.next_run)
    assert sent is not None
    opened = there.envelope.open(sent.body)
    outcome = Outcome(Kind.FAILURE, error="TaskNotFound: no task 'no.such.function'")

    ended = condemn(there, opened, read_head(opened.head), outcome)

    assert not ended.retryable
    assert app.schedules()[0].fault == outcome.error


def test_only_the_schedule_that_was_fired_is_marked(app: App, caplog: pytest.LogCaptureFixture) -> None:
    """Not one of the same name that calls something else by now; its error is told once."""
    made = app.schedule("no.such.function", name="tick", minutes=5)
    sent = slot_message(app.runtime, made, made.next_run)
    assert sent is not None
    opened = app.runtime.envelope.open(sent.body)
    outcome = Outcome(Kind.FAILURE, error="TaskNotFound: no task 'no.such.function'")

    app.reschedule("tick", func="math.sqrt")
    condemn(app.runtime, opened, read_head(opened.head), outcome)
    assert app.schedules()[0].fault == ""

    app.reschedule("tick", func="no.such.function")
    for _ in range(2):
        condemn(app.runtime, opened, read_head(opened.head), outcome)
    assert app.schedules()[0].fault == outcome.error
    assert caplog.text.count("is broken and rests") == 1
    app.unschedule("tick")
    assert not condemn(app.runtime, opened, read_head(opened.head), outcome).retryable


def test_another_queue_out_of_reach_holds_up_only_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Schedules whose tasks go elsewhere are tried again, those before and behind them fire."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "qcore" / "mail.db").mkdir(parents=True)
    app = App(Config.from_dict({"name": "plans", "secret_key": "k" * 40}))
    due = time.time() - 5
    app.schedule("a.task", name="elsewhere", next_run=due - 60, cluster="mail")
    app.schedule("a.task", name="here", next_run=due)
    keeper = Timekeeper(app.runtime)

    until(lambda: app.queue_size() == 1, "the other to fire")

    assert [one.name for one in app.schedules()] == ["elsewhere"]
    assert "schedule 'elsewhere' is passed over" in caplog.text
    assert keeper.close(10)
    app.close()
