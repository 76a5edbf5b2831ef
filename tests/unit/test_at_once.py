"""Tasks that run at once have the hooks and the context that one task alone has."""

from __future__ import annotations

import asyncio
import gc
import inspect
import math
import threading
import time
from contextvars import ContextVar, copy_context
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore.config import Config
from qcore.errors import ConfigError
from qcore.interfaces import ErrorReporter
from qcore.messages.envelope import Opened
from qcore.messages.head import Head, encode_head
from qcore.model import Kind, Outcome
from qcore.settle import Rules
from qcore.tasks.plan import Planner, TaskPlan
from qcore.tasks.run_hooks import RunHooks
from qcore_at_once.awaited import AwaitedRun, Awaiter
from qcore_at_once.demand import Demand
from qcore_at_once.sharing import AtOnce
from qcore_at_once.threaded import TaskThread, ThreadExecutor, ThreadRun
from qcore_loop.loop_thread import LoopThread
from qcore_values.msgpack_serializer import MsgpackSerializer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PACK: Final = MsgpackSerializer()
#: seconds that a run may take
LONG: Final = 20.0
SET: ContextVar[str] = ContextVar("at_once_set", default="")

pytestmark = pytest.mark.portable


async def tell() -> str:
    """Return what is set, after others have gone on."""
    await asyncio.sleep(0)
    return SET.get()


async def fails() -> None:
    """Raise an exception."""
    raise ValueError


def tell_plainly() -> str:
    """Return what is set."""
    return SET.get()


class Choosing(ErrorReporter):
    """A reporter that wants some runs only."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def wants_run(self, headers: Mapping[str, str]) -> bool:
        """Say what the message says."""
        return "wanted" in headers

    def qcore_pre_execute(self, event: Any) -> None:
        """Set something for the task."""
        SET.set(event.task.headers["wanted"])

    def qcore_post_execute(self, event: Any) -> None:
        """Keep how it ended, and what was set."""
        self.seen.append((SET.get(), event.outcome.value))

    def report(self, report: Any) -> None:
        """Do nothing."""

    def flush(self, seconds: float) -> None:
        """Do nothing."""


@pytest.fixture
def reporter() -> Choosing:
    """Return a reporter."""
    return Choosing()


@pytest.fixture
def hooks(reporter: Choosing) -> RunHooks:
    """Return the hooks of a worker that has it."""
    runtime: Any = SimpleNamespace(hooks=lambda _: (), reporters=[reporter])
    return RunHooks.of(runtime)


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    """Yield a loop."""
    loop = LoopThread()
    yield loop
    loop.close()


def plan_of(function: Any, headers: dict[str, str]) -> TaskPlan:
    """Return the plan of a message with these headers."""
    planner = Planner(Rules(), timeout=None, save=True, allowed=None)
    plan = planner.plan(encode_head(Head(f"{__name__}.{function.__name__}", headers=headers)))
    # the test's file is not a module that can be imported by name
    plan.call, plan.is_async = function, inspect.iscoroutinefunction(function)
    return plan


def opened() -> Opened:
    """Return a verified message without arguments."""
    return Opened(bytes(16), b"", b"", PACK.code, False, 0)


def begin(awaiter: Awaiter, plan: TaskPlan, ended: Callable[[], None]) -> AwaitedRun[Any] | Outcome:
    """Return the run of a message with this plan."""
    of: Any = None
    running = (opened(), plan, 1, 0)
    return awaiter.begin(
        running, upstream_args=None, queue="q", context=copy_context(), of=of, tell=lambda _: ended()
    )


@pytest.mark.parametrize("headers", [{"wanted": "yes"}, {}, {"other": "yes"}])
def test_a_reporter_is_asked_before_each_coroutine(
    reporter: Choosing, hooks: RunHooks, loop: LoopThread, headers: dict[str, str]
) -> None:
    """Both hooks are called, in the context of the task, or none."""
    awaiter, over = Awaiter({PACK.code: PACK}, hooks), threading.Event()
    run = begin(awaiter, plan_of(tell, headers), over.set)
    assert not isinstance(run, Outcome)
    loop.start([run])
    assert over.wait(LONG)

    wanted = headers.get("wanted", "")
    assert (Kind.SUCCESS, wanted) == ((outcome := awaiter.end(run)).kind, outcome.value)
    assert reporter.seen == ([("yes", "yes")] if wanted else [])
    assert SET.get() == ""


@pytest.mark.parametrize("function", [tell, fails])
def test_a_hook_is_called_while_the_loop_leaves_the_coroutine(
    reporter: Choosing, hooks: RunHooks, loop: LoopThread, function: Any
) -> None:
    """The worker learns of an end in the last step of a coroutine, which the loop may still be in."""
    awaiter, over, gate = Awaiter({PACK.code: PACK}, hooks), threading.Event(), threading.Event()

    def ended() -> None:
        over.set()
        assert gate.wait(LONG)

    run: Any = begin(awaiter, plan_of(function, {"wanted": "yes"}), ended)
    loop.start([run])
    assert over.wait(LONG)
    try:
        outcome = awaiter.end(run)
    finally:
        gate.set()

    assert outcome.kind is (Kind.SUCCESS if function is tell else Kind.FAILURE)
    assert [said for said, _ in reporter.seen] == ["yes"]


async def at_once() -> str:
    """Return without a wait, which runs as a part of the start."""
    return "at once"


@pytest.mark.parametrize("function", [tell, fails, at_once])
def test_a_coroutine_that_has_ended_is_no_garbage(hooks: RunHooks, loop: LoopThread, function: Any) -> None:
    """Its run and its arguments are freed at once, and not by the next look for garbage."""
    awaiter, over = Awaiter({PACK.code: PACK}, hooks), threading.Event()
    gc.collect()
    gc.disable()
    try:
        run: Any = begin(awaiter, plan_of(function, {}), over.set)
        loop.start([run])
        assert over.wait(LONG)
        awaiter.end(run)
        awaiter.take_raised()
        del run
        # the loop lets go of a task once it has looked at what is next
        settled = threading.Event()
        loop.loop.call_soon_threadsafe(settled.set)
        assert settled.wait(LONG)

        assert not [one for one in gc.get_objects() if isinstance(one, AwaitedRun)]
    finally:
        gc.enable()


def test_a_thread_has_what_was_set_at_the_start_of_its_worker(reporter: Choosing, hooks: RunHooks) -> None:
    """A hook may have set it for all tasks; what one sets for a task is not set for the next."""
    before = SET.set("all")
    try:
        thread = TaskThread(0, ThreadExecutor({PACK.code: PACK}, hooks), "q")
        values = []
        for headers in ({}, {"wanted": "yes"}, {}):
            over = threading.Event()
            run = ThreadRun((opened(), plan_of(tell_plainly, headers), 1, 0), lambda: None, over.set)
            thread.start(run)
            assert over.wait(LONG)
            assert run.outcome is not None
            values.append(run.outcome.value)
        thread.close()
        thread.join()
    finally:
        SET.reset(before)

    assert values == ["all", "yes", "all"]
    assert reporter.seen == [("yes", "yes")]


def test_a_loop_that_is_not_installed_is_told_before_workers_are_forked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message says what to install; a worker would die of it again and again."""
    config = Config.from_dict(
        {"event_loop": "uvloop", "sqlite": {"path": ":memory:"}, "secret_key": "k" * 40}
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(ConfigError, match=r"event_loop: 'uvloop' is not installed; .*\[uvloop\]"):
        AtOnce().preload(config)


def ran(seconds: float) -> Demand:
    """Return the demand of a worker whose coroutines take so long."""
    demand = Demand(many_threads=False)
    for _ in range(200):
        demand.saw(is_async=True)
        demand.ran(int(seconds * 1e9))
    return demand


def began(*seconds: float) -> list[Any]:
    """Return runs that began so many seconds ago."""
    now = time.monotonic_ns()
    return [SimpleNamespace(started=now - int(one * 1e9)) for one in seconds]


def test_what_was_leased_too_early_keeps_no_place_empty() -> None:
    """Where all places were taken as it was released, each that is free later is filled at once."""
    demand = ran(0.005)
    assert demand.wanted(100, 1, [], 0) > 100

    demand.released(0, 1)

    assert demand.wanted(100, 1, [], 0) == 100


def test_what_ends_together_is_replaced_together() -> None:
    """Messages are leased before the places are free, and not long before."""
    demand = ran(100.0)

    assert demand.wanted(0, 1, began(*[50.0] * 100), 0) == 0
    assert demand.wanted(0, 1, began(*[99.998] * 60, *[50.0] * 40), 0) == 60
    assert demand.wanted(40, 1, began(*[99.998] * 60), 20) == 80
    # those that are late are tasks of another kind
    assert demand.wanted(0, 1, began(*[500.0] * 60, *[50.0] * 40), 0) == 0


def test_the_first_end_tells_how_long_those_beside_it_take() -> None:
    """A worker that knows nothing yet leases for all places that are free a moment later, at once."""
    demand = Demand(many_threads=False)

    demand.ran(100_000_000)

    assert demand.wanted(1, 1, began(*[0.0995] * 99), 0) == 100


def test_a_worker_knows_how_long_tasks_took_in_the_one_before() -> None:
    """It leases ahead from its first tasks on, and soon believes its own ones more."""
    demand = Demand(many_threads=False, usual=0.5)

    assert demand.wanted(0, 1, began(*[0.498] * 60), 0) == 60

    for _ in range(50):
        demand.ran(100_000_000)
    assert demand.wanted(0, 1, began(*[0.098] * 60), 0) == 60


def test_the_wait_ends_when_many_are_about_to_end() -> None:
    """A quarter of them together is worth a round trip."""
    demand = ran(100.0)

    assert demand.until_many_end(began(500.0)) == math.inf
    assert demand.until_many_end(began(*[90.0] * 20, *[50.0] * 80)) == pytest.approx(50.0, abs=5.0)
    assert demand.until_many_end(began(*[90.0] * 30, *[50.0] * 70)) == pytest.approx(10.0, abs=5.0)
    assert ran(0.005).until_many_end(began(0.001)) == math.inf


def test_what_is_for_another_worker_is_not_leased_again_at_once() -> None:
    """It was released while there was room for tasks of the other kind."""
    demand = Demand(many_threads=False)
    for _ in range(200):
        demand.saw(is_async=True)

    demand.released(50, 0)

    assert demand.wanted(50, 0, began(1.0), 0) == 0
