"""Schedules that code declares, and what is kept of them."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import qcore
from qcore import App, Config, When, cron, every
from qcore.errors import EncodeError, ScheduleError
from qcore.schedules.declared import gather, reconcile
from qcore.schedules.messages import OpenedSchedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore import Schedule

SETTINGS = {"name": "plans", "secret_key": "k" * 40, "memory": {}, "time_zone": "Europe/Amsterdam"}


class Shop:
    """A module of a user's, written anew for each start of a cluster."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._config = Config.from_dict(SETTINGS)
        self.app = App(self._config)

    def module(self, name: str, **schedules: Any) -> None:
        """Have a module that declares tasks with these schedules."""
        made = ModuleType(name)
        for task, schedule in schedules.items():

            def function(*args: Any) -> None: ...

            function.__module__, function.__qualname__ = name, task
            vars(made)[task] = self.app.task(schedule=schedule)(function)
        self._monkeypatch.setitem(sys.modules, name, made)

    def start(self, now: float | None = None) -> dict[str, Schedule]:
        """Start a cluster; return what is kept then, by name."""
        data = gather(App, self._config, self.app.runtime.plugins)
        with self.app.runtime.schedule_stores.connection() as store:
            reconcile(store, data, time.time() if now is None else now)
        return self.kept()

    def stop(self) -> None:
        """Let the next start find nothing declared but what is written anew."""
        self.app.schedules.declarations.clear()

    def kept(self) -> dict[str, Schedule]:
        """Return what is kept, by name."""
        return {one.name: one for one in self.app.schedules.list()}

    def put(self, one: Schedule, **fields: Any) -> None:
        """Keep a schedule as it may have become."""
        with self.app.runtime.schedule_stores.connection() as store:
            store.add(attrs.evolve(one, **fields))


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Yield a shop without any modules."""
    made = Shop(monkeypatch)
    yield made
    made.app.close()


def test_what_is_declared_is_kept_once_a_cluster_starts(shop: Shop) -> None:
    """And not before; whose hand it is is told."""
    shop.module(
        "shop_tasks",
        report=cron("30 3 * * MON-FRI", tz="America/New_York", catch_up=False, overlap="skip"),
        sweep=every(minutes=5, jitter=60, args=[1], kwargs={"deep": True}, name="the sweep"),
    )
    assert list(shop.app.schedules.list()) == []

    kept = shop.start()

    report, sweep = kept["shop_tasks.report"], kept["the sweep"]
    assert (report.rule, report.time_zone) == ("30 3 * * MON-FRI", "America/New_York")
    assert (report.catch_up, report.overlap, report.declared) == (False, "skip", "shop_tasks")
    assert (sweep.rule, sweep.jitter, sweep.time_zone) == ("every 300", 60.0, "Europe/Amsterdam")
    sent = OpenedSchedule(shop.app.runtime, sweep).message(0.0, bytes(16))
    assert sent is not None
    got = shop.app.runtime.envelope.open(sent.body)
    assert shop.app.runtime.serializer.loads(got.arguments) == [[1], {"deep": True}]


def test_a_declared_cadence_counts_from_the_epoch(shop: Shop) -> None:
    """So that two clusters which declare it at once mean the same slots; or from what is said."""
    first = datetime(2020, 1, 1, 9, 0, 7, tzinfo=UTC)
    shop.module("shop_tasks", a=every(hours=1), b=every(timedelta(hours=1), next_run=first))

    kept = shop.start()

    now = time.time()
    assert kept["shop_tasks.a"].next_run % 3600 == 0
    assert kept["shop_tasks.b"].next_run % 3600 == 7
    assert all(now < one.next_run <= now + 3600 for one in kept.values())


def test_a_task_may_declare_several(shop: Shop) -> None:
    """Each named by its rule unless it has a name."""
    monthly = When(type="monthly", next_run=datetime(2026, 1, 31, 9, tzinfo=UTC), name="month")
    shop.module("shop_tasks", report=[cron("0 9 * * *"), every(seconds=90), monthly])

    assert set(shop.start()) == {"shop_tasks.report (0 9 * * *)", "shop_tasks.report (every 90)", "month"}


def test_starting_again_changes_nothing(shop: Shop) -> None:
    """A slot that is due stays due, and is made up for."""
    shop.module("shop_tasks", tick=every(minutes=1, repeats=9))
    shop.start()
    shop.put(shop.kept()["shop_tasks.tick"], next_run=600.0, repeats=4)
    before = shop.kept()

    assert shop.start() == before


def test_what_has_changed_is_changed(shop: Shop) -> None:
    """With the same rule it goes on where it stands."""
    shop.module("shop_tasks", a=every(minutes=1), b=every(minutes=1))
    shop.start()
    for name in ("a", "b"):
        shop.put(shop.kept()[f"shop_tasks.{name}"], next_run=600.0)
    shop.stop()
    shop.module("shop_tasks", a=every(minutes=1, args=[1]), b=every(minutes=2))

    kept = shop.start()

    assert kept["shop_tasks.a"].next_run == 600.0
    assert kept["shop_tasks.b"].rule == "every 120"
    assert kept["shop_tasks.b"].next_run > time.time()


def test_what_was_paused_by_hand_stays_paused(shop: Shop) -> None:
    """Whatever its module declares by now."""
    shop.module("shop_tasks", a=every(minutes=1), b=every(minutes=1, repeats=5))
    shop.start()
    for name in shop.kept():
        shop.app.schedules.pause(name)
    assert shop.start() == shop.kept()
    shop.stop()
    shop.module("shop_tasks", a=every(minutes=2), b=every(minutes=1, repeats=3))

    kept = shop.start()

    assert (kept["shop_tasks.a"].repeats, kept["shop_tasks.a"].kept) == (0, -1)
    assert (kept["shop_tasks.b"].repeats, kept["shop_tasks.b"].kept) == (0, 3)


def test_what_is_declared_no_more_is_dropped(shop: Shop) -> None:
    """If its module was imported; what others declare and what was made by hand is left alone."""
    shop.module("shop_tasks", a=every(minutes=1), b=every(minutes=1))
    shop.start()
    shop.app.schedules.create("a.task", name="by hand")
    shop.put(shop.kept()["by hand"], name="elsewhere", declared="elsewhere.tasks")
    shop.stop()
    shop.module("shop_tasks", a=every(minutes=1))

    assert set(shop.start()) == {"shop_tasks.a", "by hand", "elsewhere"}

    shop.stop()
    shop.module("shop_tasks")
    assert set(shop.start()) == {"by hand", "elsewhere"}


def test_what_was_made_by_hand_is_not_taken_over(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """It is told."""
    shop.app.schedules.create("a.task", name="shop_tasks.a", minutes=7)
    shop.module("shop_tasks", a=every(minutes=1))

    assert shop.start()["shop_tasks.a"].rule == "every 420"
    assert "was made by hand" in caplog.text


def test_a_fault_is_cleared(shop: Shop) -> None:
    """What it missed meanwhile is not made up for."""
    shop.module("shop_tasks", a=every(minutes=1))
    shop.start()
    shop.put(shop.kept()["shop_tasks.a"], next_run=600.0, fault="no such task")

    (one,) = shop.start().values()

    assert one.fault == ""
    assert time.time() < one.next_run <= time.time() + 60


def test_what_is_done_stays_done(shop: Shop) -> None:
    """A number of repeats is not begun anew by each start."""
    shop.module("shop_tasks", a=every(minutes=1, repeats=2))
    shop.start()
    shop.put(shop.kept()["shop_tasks.a"], repeats=0, kept=0)

    assert shop.start()["shop_tasks.a"].repeats == 0


def test_what_was_declared_while_no_store_answered_begins_when_it_is_kept(shop: Shop) -> None:
    """Not with the slots before that."""
    shop.module("shop_tasks", a=every(minutes=1))

    (one,) = shop.start(time.time() + 3600).values()

    assert one.next_run > time.time() + 3600


@pytest.mark.parametrize(
    ("declare", "fault"),
    [
        (lambda: cron("61 * * * *"), "not a rule of a schedule"),
        (lambda: cron("0 3 * * *", tz="Mars/Base"), "no time zone"),
        (lambda: every(), "whole seconds"),  # noqa: PLW0108 - called when it is tried
        (lambda: every(seconds=5, jitter=6), "5 seconds apart"),
        (lambda: every(seconds=5, name=""), "not a name of a schedule"),
    ],
)
def test_a_wrong_rule_is_told_where_it_stands(declare: Callable[[], When], fault: str) -> None:
    """At the import of its module."""
    with pytest.raises(ScheduleError, match=fault):
        declare()


@pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        (When(), "a declared schedule repeats"),
        (When(type="daily"), "give next_run="),
        (every(seconds=5, repeats=0), "is not paused"),
        ([every(seconds=5, name="x"), every(seconds=6, name="x")], "by the name of 'x'"),
    ],
)
def test_what_code_cannot_declare_is_told(shop: Shop, schedule: Any, fault: str) -> None:
    """At the import of its module."""
    with pytest.raises(ScheduleError, match=fault):
        shop.module("shop_tasks", a=schedule)


def test_two_tasks_cannot_declare_one_name(shop: Shop) -> None:
    """Whose is it?"""
    with pytest.raises(ScheduleError, match="two schedules are declared by the name of 'x'"):
        shop.module("shop_tasks", a=every(seconds=5, name="x"), b=every(seconds=5, name="x"))


def test_a_module_that_is_loaded_anew_declares_what_it_says_now(shop: Shop) -> None:
    """Not what it said before."""
    shop.module("shop_tasks", a=every(seconds=5), b=every(seconds=5))
    shop.module("shop_tasks", a=every(seconds=6))

    found = {one.name: one.when.every for one in shop.app.schedules.declarations}

    assert found == {"shop_tasks.a": timedelta(seconds=6), "shop_tasks.b": timedelta(seconds=5)}


def test_two_apps_cannot_declare_one_name(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start fails, and says which."""
    shop.module("shop_tasks", a=every(seconds=5, name="x"))
    shop.app = App(Config.from_dict(shop.app.config.as_dict()))
    shop.module("shop_mail", a=every(seconds=5, name="x"))

    with pytest.raises(
        ScheduleError, match=r"declared by shop_tasks and by shop_mail|shop_mail and by shop_tasks"
    ):
        shop.start()


def test_arguments_that_cannot_be_written_are_told_at_the_start(shop: Shop) -> None:
    """Not when the slot has come."""
    shop.module("shop_tasks", a=every(seconds=5, args=[object()]))

    with pytest.raises(EncodeError):
        shop.start()


def test_schedules_of_another_queues_app_are_left_to_its_clusters(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """One process may import the modules of many."""
    ours = shop.app
    shop.app = App(Config.from_dict(SETTINGS | {"name": "mail"}))
    shop.module("shop_mail", a=every(seconds=5))
    shop.app = ours

    assert shop.start() == {}
    assert "their App is for the queue 'mail'" in caplog.text


def test_the_face_has_functions() -> None:
    """`cron` and `every` of the package are what a program declares with."""
    assert isinstance(qcore.cron("* * * * *"), When)
    assert isinstance(qcore.every(seconds=1), When)
