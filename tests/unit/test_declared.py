"""Schedules that code declares, and how they are stored."""

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
from qcore.cluster import boot_of
from qcore.declarations import DeclaredSchedules
from qcore.errors import EncodeError, ScheduleError
from qcore_schedules.declared import gather, reconcile
from qcore_schedules.messages import OpenedSchedule
from qcore_schedules.role import ClockScheduler
from qcore_schedules.sealed import stored_schedules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore import Schedule

pytestmark = pytest.mark.portable

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

            def function(*args: Any, deep: bool = False) -> None: ...

            function.__module__, function.__qualname__ = name, task
            vars(made)[task] = self.app.task(schedule=schedule)(function)
        self._monkeypatch.setitem(sys.modules, name, made)

    def start(self, now: float | None = None) -> dict[str, Schedule]:
        """Start a cluster; return what is kept then, by name."""
        data = gather(App, self._config, self.app.runtime.plugins)
        with stored_schedules(self.app.runtime) as store:
            reconcile(store, data, time.time() if now is None else now)
        return self.kept()

    def stop(self) -> None:
        """Let the next start find nothing declared but what is written anew."""
        self.app.declared_schedules.all.clear()

    def kept(self) -> dict[str, Schedule]:
        """Return what is kept, by name."""
        return {one.name: one for one in self.app.schedules.list()}

    def put(self, one: Schedule, **fields: Any) -> None:
        """Keep a schedule as it may have become."""
        with stored_schedules(self.app.runtime) as store:
            store.put(attrs.evolve(one, **fields))


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Yield a shop without any modules."""
    made = Shop(monkeypatch)
    yield made
    made.app.close()


def test_declared_schedules_are_stored_once_a_cluster_starts(shop: Shop) -> None:
    """Not before; the schedule names the module that declares it."""
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


def test_a_declared_interval_counts_from_the_epoch(shop: Shop) -> None:
    """So two clusters that declare it at once mean the same slots; `next_run` changes that."""
    first = datetime(2020, 1, 1, 9, 0, 7, tzinfo=UTC)
    shop.module("shop_tasks", a=every(hours=1), b=every(timedelta(hours=1), next_run=first))

    kept = shop.start()

    now = time.time()
    assert kept["shop_tasks.a"].next_run % 3600 == 0
    assert kept["shop_tasks.b"].next_run % 3600 == 7
    assert all(now < one.next_run <= now + 3600 for one in kept.values())


def test_a_task_may_declare_several(shop: Shop) -> None:
    """Each is named by its rule unless it has a name."""
    monthly = When(type="monthly", next_run=datetime(2026, 1, 31, 9, tzinfo=UTC), name="month")
    shop.module("shop_tasks", report=[cron("0 9 * * *"), every(seconds=90), monthly])

    assert set(shop.start()) == {"shop_tasks.report (0 9 * * *)", "shop_tasks.report (every 90)", "month"}


def test_starting_again_changes_nothing(shop: Shop) -> None:
    """A slot that is due stays due, and is caught up."""
    shop.module("shop_tasks", tick=every(minutes=1, repeats=9))
    shop.start()
    shop.put(shop.kept()["shop_tasks.tick"], next_run=600.0, repeats=4)
    before = shop.kept()

    assert shop.start() == before


def test_changed_declarations_are_updated(shop: Shop) -> None:
    """With the same rule the next slot stays."""
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


def test_a_schedule_paused_by_hand_stays_paused(shop: Shop) -> None:
    """That holds whatever its module declares by now."""
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


def test_schedules_that_are_not_declared_any_more_are_removed(shop: Shop) -> None:
    """Only if their module was imported; those of others and those made by hand stay."""
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


def test_a_schedule_made_by_hand_is_not_replaced(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A warning is logged."""
    shop.app.schedules.create("a.task", name="shop_tasks.a", minutes=7)
    shop.module("shop_tasks", a=every(minutes=1))

    assert shop.start()["shop_tasks.a"].rule == "every 420"
    assert "was made by hand" in caplog.text


def test_an_error_is_cleared(shop: Shop) -> None:
    """Slots missed meanwhile are not caught up."""
    shop.module("shop_tasks", a=every(minutes=1))
    shop.start()
    shop.put(shop.kept()["shop_tasks.a"], next_run=600.0, fault="no such task")

    (one,) = shop.start().values()

    assert one.fault == ""
    assert time.time() < one.next_run <= time.time() + 60


def test_an_ended_schedule_stays_ended(shop: Shop) -> None:
    """A start does not reset the number of repeats."""
    shop.module("shop_tasks", a=every(minutes=1, repeats=2))
    shop.start()
    shop.put(shop.kept()["shop_tasks.a"], repeats=0, kept=0)

    assert shop.start()["shop_tasks.a"].repeats == 0


def test_a_schedule_declared_during_an_outage_begins_when_it_is_stored(shop: Shop) -> None:
    """It does not begin with the slots before."""
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
def test_an_invalid_rule_is_an_error_where_it_is_declared(declare: Callable[[], When], fault: str) -> None:
    """It is raised at the import of the module."""
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
def test_what_code_cannot_declare_is_refused(shop: Shop, schedule: Any, fault: str) -> None:
    """It is refused at the import of the module."""
    with pytest.raises(ScheduleError, match=fault):
        shop.module("shop_tasks", a=schedule)


def test_two_tasks_cannot_declare_one_name(shop: Shop) -> None:
    """It would be unclear whose schedule it is."""
    with pytest.raises(ScheduleError, match="two schedules are declared by the name of 'x'"):
        shop.module("shop_tasks", a=every(seconds=5, name="x"), b=every(seconds=5, name="x"))


def test_a_reloaded_module_declares_its_new_schedules(shop: Shop) -> None:
    """It does not declare the old ones any more."""
    shop.module("shop_tasks", a=every(seconds=5), b=every(seconds=5))
    shop.module("shop_tasks", a=every(seconds=6))

    found = {one.name: one.when.every for one in shop.app.declared_schedules.all}

    assert found == {"shop_tasks.a": timedelta(seconds=6), "shop_tasks.b": timedelta(seconds=5)}


def test_two_apps_cannot_declare_one_name(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start fails, and the error names both."""
    shop.module("shop_tasks", a=every(seconds=5, name="x"))
    shop.app = App(Config.from_dict(shop.app.config.as_dict()))
    shop.module("shop_mail", a=every(seconds=5, name="x"))

    with pytest.raises(
        ScheduleError, match=r"declared by shop_tasks and by shop_mail|shop_mail and by shop_tasks"
    ):
        shop.start()


def test_arguments_that_cannot_be_serialised_fail_the_start(shop: Shop) -> None:
    """They are not found out when the slot is due."""
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


def test_no_module_is_looked_at_where_none_declares_any(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at is written to, and so no process shares its memory any more."""
    shop.module("shop_tasks", a=every(seconds=5))
    assert "shop_tasks.a" in shop.start()
    monkeypatch.setattr(DeclaredSchedules, "any", False)
    monkeypatch.setattr("qcore_schedules.declared.gather", lambda *_: pytest.fail("looked"))

    data = ClockScheduler().gather(App, shop.app.config, shop.app.runtime.plugins)

    # a cluster that imports the module and declares nothing removes what it declared before
    with stored_schedules(shop.app.runtime) as store:
        reconcile(store, data, time.time())
    assert shop.kept() == {}


def test_the_face_has_functions() -> None:
    """`cron` and `every` of the package are what a program declares with."""
    assert isinstance(qcore.cron("* * * * *"), When)
    assert isinstance(qcore.every(seconds=1), When)


def test_what_the_configuration_preloads_is_imported_first() -> None:
    """It may set up what the modules that declare schedules need; none is named twice."""
    config = Config.from_dict({"preload": ["frame", "shop"], "workers": 1})

    assert boot_of(config, ["shop", "stock"]).preload == ["frame", "shop", "stock"]
