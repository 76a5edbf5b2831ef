"""Which clock decides where the broker has one of its own."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import pytest

from qcore import App, Config
from qcore.backend_clock import BackendClock
from qcore.builtin import plugin as builtin
from qcore.cli.check_result import Verdict
from qcore.cli.system_checks import clock, schedules
from qcore.errors import BackendUnavailable
from qcore.hookspecs import hookimpl
from qcore.model import Kind
from qcore.plugins import Plugins
from qcore.settle import Rules
from qcore.tasks.plan import Planner
from qcore.workers.leased import LeasedMessage, skip_reason
from qcore_plugin_support import parse_http_date
from qcore_schedules import plugin as scheduler
from qcore_schedules.scheduler_thread import ClockSteps
from qcore_schedules.sealed import stored_schedules
from qcore_testing import plugin as memory
from qcore_testing.memory.broker import MemoryBroker
from qcore_testing.memory.queue import MemoryQueue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = 3600.0


class ServerBroker(MemoryBroker):
    """A broker whose server has a clock of its own."""

    #: seconds by which it is ahead of ours; None = it does not answer
    ahead: ClassVar[float | None] = 0.0
    asked: ClassVar[int] = 0

    def server_time(self) -> float:
        """Return the server's time."""
        type(self).asked += 1
        if self.ahead is None:
            raise BackendUnavailable
        return time.time() + self.ahead


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Yield a producer whose broker has a clock of its own."""
    queue = MemoryQueue()

    @hookimpl
    def qcore_brokers() -> dict[str, Any]:
        return {"server": lambda settings: ServerBroker(queue, retry=settings.retry, backend="server")}

    spoken = SimpleNamespace(qcore_brokers=qcore_brokers)
    plugins = Plugins.of({"builtin": builtin, "memory": memory, "schedules": scheduler, "server": spoken})
    told = {"name": "plans", "secret_key": "k" * 40, "server": {}, "result_store": "memory"}
    monkeypatch.setattr(ServerBroker, "asked", 0)
    made = App(Config.from_dict(told, plugins), plugins=plugins)
    yield made
    made.close()


def skew(monkeypatch: pytest.MonkeyPatch, seconds: float | None) -> None:
    """Set the server's clock."""
    monkeypatch.setattr(ServerBroker, "ahead", seconds)


def expired(app: App) -> bool:
    """Return whether the next message is too old for a worker of this machine."""
    with app.runtime.brokers.connection() as broker:
        (delivery,) = broker.lease(1, 0.0)
    opened = app.runtime.envelope.open(delivery.body)
    plan = Planner(Rules(), timeout=None, save=True, allowed=None).plan(opened.head)
    one = LeasedMessage(delivery, opened, plan)
    kind, _ = skip_reason(one, None, delivery, app.runtime.clock.now, renew=True)
    return kind is Kind.EXPIRED


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
def test_an_expiry_is_judged_by_the_brokers_clock(
    app: App, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """However far the clocks of the producer and of the worker are from it."""

    def call() -> None: ...

    call.__qualname__ = "call"
    skew(monkeypatch, ahead)
    before = time.time()
    task = app.task(call)
    task.using(expires=60.0).enqueue()
    with app.runtime.brokers.connection() as broker:
        (delivery,) = broker.lease(1, 0.0)
    stamped = app.runtime.envelope.open(delivery.body).expires / 1000
    assert before + ahead + 59 < stamped < time.time() + ahead + 61

    # A worker on a machine with the right time finds it in time.
    task.using(expires=60.0).enqueue()
    assert not expired(app)


def test_what_does_not_expire_asks_for_no_time(app: App) -> None:
    """The road of a task costs nothing more."""

    def call() -> None: ...

    call.__qualname__ = "call"
    app.task(call).enqueue()

    assert not expired(app)
    assert ServerBroker.asked == 0


def test_the_broker_is_asked_once_a_minute(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """In between, a step of this machine's clock changes nothing."""
    skew(monkeypatch, HOUR)
    first = app.runtime.clock.now()
    right = time.time
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: right() - 7 * HOUR)

        assert 0 <= app.runtime.clock.now() - first < 60

    assert abs(first - right() - HOUR) < 60
    assert ServerBroker.asked == 1


def test_a_broker_that_does_not_answer_stops_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """This machine's clock decides until it does, and the log says so."""
    skew(monkeypatch, None)

    assert abs(app.runtime.clock.now() - time.time()) < 60
    assert app.runtime.clock.now()

    assert ServerBroker.asked == 1
    assert "the broker's clock is not known" in caplog.text

    monkeypatch.setattr("qcore.backend_clock._AGAIN", 0.0)
    app.runtime.clock._ask_at = 0.0
    for _ in range(3):
        app.runtime.clock.now()
    assert ServerBroker.asked > 2
    assert caplog.text.count("the broker's clock is not known") == 1


def test_a_queue_that_is_not_there_yet_is_no_trouble(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A schedule may be the first thing that is created in it."""
    settings = {"name": "new", "secret_key": "k" * 40, "sqlite": {"path": str(tmp_path / "queue.db")}}
    made = App(Config.from_dict(settings))

    made.schedules.create("math.floor", 1.5, name="floor", every=60)

    assert not caplog.records
    made.close()


def test_a_broker_without_a_clock_leaves_this_machines() -> None:
    """As with SQLite; a time given in whole seconds that agrees is not taken for a difference."""

    @contextmanager
    def coarse() -> Iterator[Any]:
        yield SimpleNamespace(server_time=lambda: time.time() + 0.5)

    made = App(Config.from_dict({"name": "plans", "secret_key": "k" * 40, "memory": {}}))
    assert abs(made.runtime.clock.now() - time.time()) < 1.0
    assert abs(BackendClock(coarse).now() - time.time()) < 0.4
    made.close()


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
def test_the_first_slot_is_now_by_the_brokers_clock(
    app: App, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """A producer whose clock is wrong has its schedule fired at once all the same."""
    skew(monkeypatch, ahead)

    made = app.schedules.create("a.task", every=60)

    assert abs(made.next_run - time.time() - ahead) < 60


@pytest.mark.parametrize(
    ("ahead", "verdict", "text"),
    [
        (0.0, Verdict.OK, "the same as the broker's"),
        (HOUR, Verdict.WARN, "this machine's is 3,600 seconds behind the broker's"),
        (-HOUR, Verdict.WARN, "this machine's is 3,600 seconds ahead of the broker's"),
    ],
)
def test_the_doctor_measures_the_difference(
    app: App, monkeypatch: pytest.MonkeyPatch, ahead: float, verdict: Verdict, text: str
) -> None:
    """It compares this machine's clock with the broker's."""
    skew(monkeypatch, ahead)

    (found,) = clock(SimpleNamespace(runtime=app.runtime))  # type: ignore[arg-type]  # all it needs

    assert text in (found if isinstance(found, str) else found.text)
    assert isinstance(found, str) is (verdict is Verdict.OK)


def test_a_schedule_that_a_wrong_clock_has_fired_ahead_is_shown(app: App) -> None:
    """Its next slot is later than the rule's; one whose first slot is yet to come is sound."""
    now = float(int(time.time()))
    app.schedules.create("a.task", name="sound", every=60, next_run=now + 7200)
    made = app.schedules.create("a.task", name="silent", every=60, next_run=now - 60)
    with stored_schedules(app.runtime) as store:
        assert store.fire(app.runtime.brokers.take(), [], made, _at(made, now + 7200))

    found = list(schedules(SimpleNamespace(app=app, runtime=app.runtime)))  # type: ignore[arg-type]  # as above

    assert "2, none of them broken" in found
    (warning,) = [one.text for one in found if not isinstance(one, str)]
    assert "silent skips" in warning
    assert "qcore schedule update silent --next-run" in warning


def _at(schedule: Any, slot: float) -> Any:

    return attrs.evolve(schedule, next_run=slot)


def test_a_step_back_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Schedules are silent until the clock shows the old time again; a small correction is ignored."""
    steps = ClockSteps()

    with caplog.at_level(logging.WARNING):
        for ahead in (0.0, 5.0, 4.0):
            steps.look(time.monotonic() + 1_000_000_000 + ahead)
        assert caplog.text == ""
        steps.look(time.monotonic() + 1_000_000_000 - HOUR)

    assert "set back by 3604 seconds" in caplog.text
    assert "until it shows 2001-09-" in caplog.text


def test_a_date_of_http_is_read() -> None:
    """Anything else gives None."""
    assert parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT") == 784111777.5
    assert [parse_http_date(text) for text in ("", "now", "Sun, 99 Nov 1994 08:49:37 GMT")] == [None] * 3
