"""Whatever a task does, its run ends in an outcome that tells it."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import signal
import sys
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
import pytest

from qcore.errors import DecodeError, SkipTask, TaskTimeout
from qcore.messages.envelope import Opened
from qcore.messages.head import Head, encode_head
from qcore.model import Kind, Outcome
from qcore.settle import Retry, Rules
from qcore.tasks.execute import Executor
from qcore.tasks.plan import Planner, TaskPlan
from qcore.tasks.run_hooks import RunHooks
from qcore_reports.tracebacks import MAX_ERROR, MAX_TRACEBACK, format_error, format_traceback
from qcore_testing.processes import Child
from qcore_values.msgpack_serializer import MsgpackSerializer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACK: Final = MsgpackSerializer()
HERE: Final = __name__


@attrs.frozen
class Point:
    """An attrs class."""

    x: int


class Hostile(Exception):
    """An exception whose every method raises, with what must not get through."""

    #: pytest shows exceptions as well
    armed = False

    def __str__(self) -> str:
        if Hostile.armed:
            raise SystemExit(3)
        return "harmless"

    __repr__ = __str__


@pytest.fixture(autouse=True)
def _as_in_a_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ignore the terminal's signal as a worker does; else the event loop shows what it must not."""
    monkeypatch.setattr(Hostile, "armed", True)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


class Told(str):  # noqa: SLOT000 - no more than a test needs
    """A text with a will of its own."""

    def __format__(self, spec: str) -> str:
        raise ValueError(spec)

    def __str__(self) -> str:
        raise ValueError


class TellsOwn(Exception):
    """An exception whose text is of a class of its own."""

    def __str__(self) -> str:
        return Told("own text")


def plan_of(function: Callable[..., Any] | str, rules: Rules | None = None, **options: Any) -> TaskPlan:
    """Return the plan to run a function of this file, or a name."""
    name = function if isinstance(function, str) else f"{HERE}.{function.__name__}"
    planner = Planner(rules or Rules(), timeout=None, save=True, allowed=None)
    plan = planner.plan(encode_head(Head(name, **options)))
    if not isinstance(function, str):
        # the test's file is not a module that can be imported by name
        plan.call, plan.is_async = function, inspect.iscoroutinefunction(function)
    return plan


def opened(*args: Any, data: bytes | None = None, named: bool = False, **kwargs: Any) -> Opened:
    """Return a verified message with these arguments."""
    if data is None:
        data = PACK.dumps([list(args), kwargs]) if kwargs else PACK.dumps(list(args)) if args else b""
    return Opened(bytes(16), b"", data, PACK.code, named or bool(kwargs), 0)


@pytest.fixture
def executor() -> Iterator[Executor]:
    """Yield an executor without hooks."""
    executor = Executor({PACK.code: PACK})
    yield executor
    executor.close()


@pytest.fixture
def run(executor: Executor) -> Callable[..., Outcome]:
    """Return a function that runs another as a task."""

    def run(function: Callable[..., Any] | str, *args: Any, deadline: int = 0, **kwargs: Any) -> Outcome:
        return executor.run(opened(*args, **kwargs), plan_of(function), 1, deadline)

    return run


# -- how it ends ------------------------------------------------------------------------------


def test_a_returned_value_is_a_success(run: Callable[..., Outcome]) -> None:
    """By position and by name, with the times of the run."""
    before = time.time()

    outcome = run("os.path.join", "a", "b")

    assert (Kind.SUCCESS, os.path.join("a", "b")) == (outcome.kind, outcome.value)
    assert before <= outcome.started <= outcome.finished <= time.time()
    assert {"a": 1} == run("builtins.dict", a=1).value


async def later(value: int) -> int:
    """Return after one cycle of the loop."""
    await asyncio.sleep(0)
    return value


def test_a_coroutine_is_run_to_its_end(run: Callable[..., Outcome]) -> None:
    """`async def` tasks need nothing special."""
    assert [1, 2] == [run(later, 1).value, run(later, 2).value]


TOLD: Final[ContextVar[str]] = ContextVar("told", default="nothing")


async def tells() -> str:
    """Return what the caller's context says."""
    await asyncio.sleep(0)
    return TOLD.get()


async def fails_later() -> None:
    """Raise after one cycle of the loop."""
    await asyncio.sleep(0)
    msg = "later"
    raise ValueError(msg)


def test_a_coroutine_is_run_where_a_loop_runs_already(run: Callable[..., Outcome]) -> None:
    """Code that is awaited may run a task in its own process; the task has its context."""

    async def enqueues() -> list[Outcome]:
        TOLD.set("something")
        return [run(tells), run(fails_later), run(later, 3)]

    told, failed, again = asyncio.run(enqueues())

    assert (told.value, again.value) == ("something", 3)
    assert failed.error == "ValueError: later"
    assert failed.traceback.splitlines()[1].endswith("in fails_later")


def test_ctrl_c_ends_a_coroutine_that_is_run_beside_a_loop() -> None:
    """It is the user's own, and leaves nothing behind that runs on."""
    ended: list[str] = []
    executor = Executor({PACK.code: PACK}, let_out=(KeyboardInterrupt,))

    async def hangs() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("ended")

    async def enqueues() -> None:
        # what asyncio.run makes of Ctrl-C would only come when this function has returned
        signal.signal(signal.SIGINT, signal.default_int_handler)
        executor.run(opened(), plan_of(hangs), 1, 0)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(enqueues())
    executor.close()

    assert ended == ["ended"]


async def leaves_work(seen: list[str]) -> None:
    """Leave something running."""

    async def lag() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("cancelled")

    seen.append("begun")
    asyncio.get_running_loop().create_task(lag()).set_name("lag")
    await asyncio.sleep(0)


def test_what_a_coroutine_leaves_running_ends_with_it(executor: Executor) -> None:
    """It would otherwise go on inside a stranger's run."""
    seen: list[str] = []
    plan = plan_of(leaves_work)
    plan.convert = lambda _args, kwargs: ([seen], kwargs)

    executor.run(opened(0), plan, 1, 0)

    assert ["begun", "cancelled"] == seen


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (BaseException("base"), "BaseException: base"),
        (TaskTimeout("mine"), "TaskTimeout: mine"),
        (asyncio.CancelledError(), "CancelledError"),
        (RecursionError("deep"), "RecursionError: deep"),
        (MemoryError(), "MemoryError"),
        (DecodeError("a task's own"), "DecodeError: a task's own"),
        (Hostile(), "Hostile: (its text cannot be shown)"),
        (TellsOwn(), "TellsOwn: own text"),
        (
            ExceptionGroup("two", [ValueError("one"), KeyError("other")]),
            "ExceptionGroup: two (2 sub-exceptions)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("is_async", [False, True])
def test_whatever_is_raised_is_a_failure(
    executor: Executor, error: BaseException, text: str, is_async: bool
) -> None:
    """Nothing a task raises gets out of the worker, SystemExit and its like included."""
    if is_async and isinstance(error, SystemExit | KeyboardInterrupt):
        pytest.skip("the event loop itself hands these on; tried below")

    def fail() -> None:
        raise error

    async def fail_later() -> None:
        raise error

    outcome = executor.run(opened(), plan_of(fail_later if is_async else fail), 1, 0)

    assert (Kind.FAILURE, text, True) == (outcome.kind, outcome.error, outcome.retryable)


def test_a_coroutine_that_exits_does_not_spoil_the_next_one(executor: Executor) -> None:
    """The event loop is good for another run."""

    async def leave() -> None:
        sys.exit(4)

    first = executor.run(opened(), plan_of(leave), 1, 0)
    second = executor.run(opened(7), plan_of(later), 1, 0)

    assert (Kind.FAILURE, "SystemExit: 4") == (first.kind, first.error)
    assert (Kind.SUCCESS, 7) == (second.kind, second.value)


@pytest.mark.parametrize("times", [1, 3])
def test_a_coroutine_that_stops_its_loop_fails_and_leaves_nothing_behind(
    executor: Executor, times: int
) -> None:
    """Neither the next coroutine nor the worker's end meets what it left."""
    ended: list[str] = []

    async def lag() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("lag")

    async def stop_loop() -> None:
        loop = asyncio.get_running_loop()
        loop.create_task(lag()).set_name("lag")
        await asyncio.sleep(0)
        loop.stop()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("main")

    outcomes = [executor.run(opened(), plan_of(stop_loop), 1, 0) for _ in range(times)]
    after = executor.run(opened(7), plan_of(later), 1, 0)
    executor.close()

    assert [Kind.FAILURE] * times == [outcome.kind for outcome in outcomes]
    assert "RuntimeError: Event loop stopped before Future completed." == outcomes[0].error
    assert (Kind.SUCCESS, 7) == (after.kind, after.value)
    assert sorted(["lag", "main"] * times) == sorted(ended)


def test_a_coroutine_that_stops_its_loop_whenever_it_is_cancelled_is_given_up(executor: Executor) -> None:
    """Its loop is closed as it is, and the next coroutine gets another."""

    async def stop_again() -> None:
        loop = asyncio.get_running_loop()
        loop.stop()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            loop.stop()
            await asyncio.sleep(60)

    outcome = executor.run(opened(), plan_of(stop_again), 1, 0)
    after = executor.run(opened(7), plan_of(later), 1, 0)
    gc.collect()

    assert Kind.FAILURE == outcome.kind
    assert (Kind.SUCCESS, 7) == (after.kind, after.value)


def test_endless_recursion_is_a_failure(run: Callable[..., Outcome]) -> None:
    """The stack is whole again afterwards."""

    def deep() -> None:
        deep()

    outcome = run(deep)

    assert outcome.error.startswith("RecursionError")
    assert len(outcome.traceback) <= MAX_TRACEBACK


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module.f", "TaskNotFound: no task 'no_such_module.f': no module 'no_such_module'"),
        ("math.pi", "TaskNotFound: no task 'math.pi': it is a float"),
    ],
)
def test_a_function_that_is_not_there_is_a_failure(run: Callable[..., Outcome], name: str, says: str) -> None:
    """The producer learns it, and the message is not lost."""
    outcome = run(name)

    assert Kind.FAILURE is outcome.kind
    assert outcome.error.startswith(says)


def test_a_module_that_exits_while_it_is_imported_is_a_failure(
    run: Callable[..., Outcome], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module is a user's code as much as the task is."""
    (tmp_path / "leaves_at_once.py").write_text("raise SystemExit(9)")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert (Kind.FAILURE, "SystemExit: 9") == attrs_of(run("leaves_at_once.f"))


def test_a_function_is_looked_for_again_after_it_was_missing(
    executor: Executor, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deploy may bring it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    plan = plan_of("comes_with_a_deploy.f")
    assert executor.run(opened(), plan, 1, 0).kind is Kind.FAILURE

    (tmp_path / "comes_with_a_deploy.py").write_text("def f(): return 1")
    plan.find()

    assert executor.run(opened(), plan, 1, 0).value == 1


def attrs_of(outcome: Outcome) -> tuple[Kind, str]:
    """Return what is compared most often."""
    return outcome.kind, outcome.error


def test_messages_that_differ_in_their_headers_share_what_was_found() -> None:
    """With tracing each message has headers of its own, and finding a function takes long."""
    planner = Planner(Rules(), timeout=None, save=True, allowed=None)
    first = planner.plan(encode_head(Head("json.dumps", headers={"trace": "1"})))
    early = planner.plan(encode_head(Head("json.dumps", headers={"trace": "2"})))
    assert (first.call, early.call) == (None, None)

    early.find()
    early.successes, early.seconds = 3, 1.0
    second = planner.plan(encode_head(Head("json.dumps", headers={"trace": "3"})))
    plain = planner.plan(encode_head(Head("json.dumps")))
    other = planner.plan(encode_head(Head("json.dumps", timeout=3.0, headers={"trace": "3"})))

    assert early.call is second.call is plain.call is json.dumps
    assert (second.head.headers, plain.head.headers) == ({"trace": "3"}, None)
    assert (second.successes, second.seconds, early.successes) == (0, 0.0, 3)
    assert (other.call, other.timeout) == (None, 3_000_000_000)
    assert planner.plan(encode_head(Head("json.dumps", headers={"trace": "3"}))) is second


def test_what_was_found_before_a_fork_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is replaced often would take longer to read a function than to run it."""
    planner = Planner(Rules(), timeout=None, save=True, allowed=None)
    plan = planner.plan(encode_head(Head("json.dumps")))
    plan.find_ahead()
    # whether it may be called is for the worker to find out, which journals that it does
    assert plan.call is None

    monkeypatch.setattr("qcore.tasks.plan.convert_arguments", lambda _: pytest.fail("read again"))
    plan.find()

    assert plan.call is json.dumps


def test_a_function_that_was_replaced_since_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library may wrap functions when a worker starts."""
    planner = Planner(Rules(), timeout=None, save=True, allowed=None)
    plan = planner.plan(encode_head(Head("json.dumps")))
    plan.find_ahead()

    monkeypatch.setattr(json, "dumps", json.loads)
    plan.find()

    assert plan.call is json.loads


def test_a_head_is_planned_once() -> None:
    """Equal heads share a plan, and a plan finds nothing before it is to run."""
    planner = Planner(Rules(), timeout=None, save=True, allowed=None)
    head = encode_head(Head("no_such_module.f"))

    assert planner.plan(head) is planner.plan(head)
    assert (None, "") == (planner.plan(head).call, planner.plan(head).fault)


def test_a_tasks_own_options_come_before_the_configurations() -> None:
    """And what it leaves open is the configuration's."""
    ours = Rules(max_attempts=7, ack_failures=True, retry=9.0, max_crashes=5)
    planner = Planner(ours, timeout=30.0, save=False, allowed=None)

    plain = planner.build(Head("a.b"))
    own = planner.build(
        Head(
            "a.b",
            timeout=0.0,
            max_attempts=2,
            backoff=1.0,
            max_delay=4.0,
            jitter=True,
            ack_failure=False,
            save=True,
        )
    )

    assert (ours, 30 * 10**9, False) == (plain.rules, plain.timeout, plain.save)
    assert (0, True) == (own.timeout, own.save)
    assert (
        attrs.evolve(ours, max_attempts=2, backoff=1.0, max_delay=4.0, jitter=True, ack_failures=False)
        == own.rules
    )


# -- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        opened(data=b"\xc1"),
        opened(data=b"\x92\x01"),
        opened(data=PACK.dumps([1, 2, 3]), named=True),
        opened(data=PACK.dumps(5), named=True),
        msgspec.structs.replace(opened(1), serializer=99),
    ],
)
def test_arguments_that_cannot_be_decoded_are_rejected(executor: Executor, message: Opened) -> None:
    """The function is not called."""
    outcome = executor.run(message, plan_of("builtins.print"), 1, 0)

    assert Kind.REJECTED is outcome.kind
    assert outcome.error.startswith("the arguments cannot be decoded: ")


def test_a_serializer_that_breaks_its_promise_kills_nobody() -> None:
    """An unpickled object may raise what it likes, even what ends a process."""

    class Wild(MsgpackSerializer):
        def loads(self, data: bytes) -> Any:
            raise SystemExit(data)

    outcome = Executor({PACK.code: Wild()}).run(opened(1), plan_of("builtins.print"), 1, 0)

    assert Kind.REJECTED is outcome.kind
    assert "SystemExit" in outcome.error


@pytest.mark.parametrize(
    "message", [opened(1), opened(data=PACK.dumps(5)), opened(data=PACK.dumps([1, 2]), named=True)]
)
def test_arguments_that_do_not_fit_the_function_are_a_failure(executor: Executor, message: Opened) -> None:
    """As they are in a plain call."""

    def nothing() -> None:
        """Take nothing."""

    outcome = executor.run(message, plan_of(nothing), 1, 0)

    assert Kind.FAILURE is outcome.kind
    assert outcome.error.startswith("TypeError")


def test_arguments_that_do_not_fit_the_annotations_are_a_failure(executor: Executor) -> None:
    """Converters and validators of a user's type may raise anything."""
    plan = plan_of("builtins.print")

    def leave(args: Any, kwargs: Any) -> Any:
        raise SystemExit(5)

    plan.find()
    plan.convert = leave

    assert (Kind.FAILURE, "SystemExit: 5") == attrs_of(executor.run(opened(1), plan, 1, 0))


# -- the policy -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "error", "retryable"),
    [
        ((Exception,), ValueError, True),
        ((Exception,), SystemExit, True),
        ((OSError,), FileNotFoundError, True),
        ((OSError,), ValueError, False),
        ((OSError, SystemExit), SystemExit, True),
        ((), ValueError, False),
    ],
)
def test_the_tasks_policy_says_which_errors_are_worth_another_run(
    executor: Executor, on: tuple[type[BaseException], ...], error: type[BaseException], retryable: bool
) -> None:
    """Anything else is final at once."""

    def fail() -> None:
        raise error

    plan = plan_of(fail)
    names = Retry(on=on).names()
    plan.on = None if names is None else frozenset(names)

    assert retryable == executor.run(opened(), plan, 1, 0).retryable


def test_skip_task_is_told_as_such(run: Callable[..., Outcome]) -> None:
    """Neither a success nor a failure."""

    def skip() -> None:
        raise SkipTask("not today")

    assert (Kind.SKIPPED, "SkipTask: not today") == attrs_of(run(skip))


# -- time -------------------------------------------------------------------------------------


def test_an_alarm_after_the_deadline_ends_the_task(executor: Executor) -> None:
    """It can clean up, and its traceback shows where it was."""
    seen = []

    def late() -> None:
        try:
            executor.alarm()
        finally:
            seen.append("cleaned")

    plan = plan_of(late, timeout=2.0)
    outcome = executor.run(opened(), plan, 1, time.monotonic_ns() - 1)

    assert (Kind.TIMEOUT, "TaskTimeout: the task ran longer than its timeout of 2 seconds") == attrs_of(
        outcome
    )
    assert ["cleaned"] == seen
    assert "in late" in outcome.traceback


def test_an_alarm_before_the_deadline_does_nothing(executor: Executor) -> None:
    """A signal sent for the task before is not this one's."""

    def early() -> str:
        executor.alarm()
        return "done"

    assert executor.run(opened(), plan_of(early), 1, time.monotonic_ns() + 10**12).value == "done"
    assert executor.run(opened(), plan_of(early), 1, 0).value == "done"
    executor.alarm()


def test_an_alarm_cancels_a_coroutine(executor: Executor) -> None:
    """Where it waits."""

    async def late() -> None:
        executor.alarm()
        await asyncio.sleep(60)

    outcome = executor.run(opened(), plan_of(late, timeout=1.0), 1, time.monotonic_ns() - 1)

    assert Kind.TIMEOUT is outcome.kind


def test_a_timeout_that_came_too_late_is_forgotten(executor: Executor) -> None:
    """The next task that cancels itself was not late."""

    async def just_in_time() -> str:
        executor.alarm()
        return "done"

    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    first = executor.run(opened(), plan_of(just_in_time), 1, time.monotonic_ns() - 1)
    second = executor.run(opened(), plan_of(cancels_itself), 1, 0)

    assert ("done", Kind.FAILURE) == (first.value, second.kind)


# -- what is reported of an error -----------------------------------------------------------------


def raised(error: BaseException) -> BaseException:
    """Return an exception as it is caught."""
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("is_async", [False, True])
def test_a_traceback_begins_with_the_tasks_own_frame(executor: Executor, is_async: bool) -> None:
    """Neither our frames nor the event loop's are shown."""

    def fail() -> None:
        raise ValueError("no")

    async def fail_later() -> None:
        await asyncio.sleep(0)
        fail()

    lines = executor.run(opened(), plan_of(fail_later if is_async else fail), 1, 0).traceback.splitlines()

    assert "Traceback (most recent call last):" == lines[0]
    assert lines[1].endswith("in fail_later" if is_async else "in fail")
    assert "ValueError: no" == lines[-1]


def test_a_timeouts_traceback_ends_with_the_tasks_own_frame(executor: Executor) -> None:
    """The signal handler is ours, too."""

    def late() -> None:
        executor.alarm()

    outcome = executor.run(opened(), plan_of(late), 1, time.monotonic_ns() - 1)

    assert "in alarm" not in outcome.traceback
    assert "executor.alarm()" in outcome.traceback


def test_the_cause_of_an_error_is_told_with_it(run: Callable[..., Outcome]) -> None:
    """As Python tells it."""

    def fail() -> None:
        try:
            raise KeyError("first")
        except KeyError as exc:
            raise ValueError("second") from exc

    assert "direct cause" in run(fail).traceback


def test_long_texts_are_cut() -> None:
    """An error's text at its end, a traceback at its beginning."""
    error = raised(ValueError("x" * 10**6))

    assert MAX_ERROR == len(format_error(error))
    assert MAX_TRACEBACK == len(format_traceback(error))
    assert format_error(error).startswith("ValueError: xxx")


@pytest.mark.parametrize("text", ["\ud800 alone", "\x00", "\x1b[31m", "ok"])
def test_what_is_told_can_be_written_as_utf_8(text: str) -> None:
    """Lone surrogates cost neither the record nor the log line."""
    format_error(raised(ValueError(text))).encode()
    format_traceback(raised(ValueError(text))).encode()


def test_hostile_classes_do_not_get_through() -> None:
    """A metaclass that lies or raises is a user's, too."""

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            raise SystemExit(name)

    class Odd(Exception, metaclass=Meta):
        pass

    assert format_error(raised(Odd("text"))).endswith("Odd: text")
    assert format_traceback(raised(Hostile()))


# -- a task that forks ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["return", "raise", "exit"])
def test_a_child_the_task_forked_never_becomes_a_worker(executor: Executor, how: str) -> None:
    """It ends where the task ends, however it does; the parent alone goes on."""

    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            if how == "raise":
                raise ValueError
            if how == "exit":
                sys.exit(7)
            return 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def work(tell: Callable[[str], None]) -> None:
        own = Executor({})
        outcome = own.run(opened(), plan_of(fork), 1, 0)
        tell(f"{outcome.kind.value} {outcome.value}")

    with Child(work) as child:
        told = child.lines()

    assert [f"success { {'return': 0, 'raise': 1, 'exit': 7}[how] }"] == told


# -- hooks ------------------------------------------------------------------------------------


def test_hooks_see_the_task_before_and_its_outcome_after() -> None:
    """With everything a user may want to know of it."""
    seen: list[Any] = []
    executor = Executor({PACK.code: PACK}, RunHooks([seen.append], [seen.append]))
    head = Head("builtins.dict", group="g", timeout=3.0, headers={"k": "v"})
    plan = Planner(Rules(), timeout=None, save=True, allowed=None).plan(encode_head(head))

    executor.run(opened(a=1), plan, 4, 0)

    before, after = seen
    assert (None, {"a": 1}) == (before.outcome, after.outcome.value)
    task = before.task
    assert ("builtins.dict", (), {"a": 1}, "g", 3.0, {"k": "v"}, 4) == (
        task.name, task.args, task.kwargs, task.group, task.timeout, task.headers, task.attempt,
    )  # fmt: skip


def test_what_was_raised_can_be_taken_once() -> None:
    """A report of it needs the exception, the task and its context."""
    executor = Executor({PACK.code: PACK}, keep_raised=True)

    def fail() -> None:
        raise ValueError("no")

    executor.run(opened(), plan_of(fail), 1, 0)

    raised = executor.take_raised()
    assert raised is not None
    assert (f"{HERE}.fail", "no") == (raised.task.name, str(raised.error))
    assert executor.take_raised() is None


# -- cancelled -------------------------------------------------------------------------------


def test_a_cancelled_task_ends_so_whatever_it_makes_of_that() -> None:
    """By its flag, not by what is raised; the next task is not meant."""
    asked = [True, True, False]
    executor = Executor({PACK.code: PACK}, cancelled=lambda: asked.pop(0))
    before = signal.signal(signal.SIGALRM, executor.alarm)

    def rings(kind: str) -> str:
        try:
            os.kill(os.getpid(), signal.SIGALRM)
        except BaseException as exc:
            if kind == "another":
                raise ValueError(kind) from exc
            raise
        return "not meant"

    try:
        outcomes = [executor.run(opened(kind), plan_of(rings), 1, 0) for kind in ("", "another", "")]
    finally:
        signal.signal(signal.SIGALRM, before)
        executor.close()

    assert [Kind.CANCELLED, Kind.CANCELLED, Kind.SUCCESS] == [one.kind for one in outcomes]
    assert [one.error for one in outcomes[:2]] == ["TaskCancelled: the task was cancelled while it ran"] * 2
    assert "TaskCancelled" in outcomes[0].traceback


def test_an_alarm_between_tasks_interrupts_nothing() -> None:
    """One that comes too late is nobody's."""
    executor = Executor({PACK.code: PACK}, cancelled=lambda: True)

    executor.alarm()

    executor.close()


def test_a_task_that_a_hook_skips_after_a_late_one_is_skipped() -> None:
    """How the task before ended says nothing about this one."""
    calls: list[object] = []

    def skip_second(event: object) -> None:
        calls.append(event)
        if len(calls) == 2:
            raise SkipTask("not today")

    executor = Executor({PACK.code: PACK}, RunHooks([skip_second]))

    def late() -> None:
        executor.alarm()

    outcomes = [executor.run(opened(), plan_of(late), 1, deadline).kind for deadline in (1, 0)]
    executor.close()

    assert [Kind.TIMEOUT, Kind.SKIPPED] == outcomes
