"""Which failures reach a reporter, and that none of them holds anything up."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore.errors import ConfigError, PluginError
from qcore.interfaces import ErrorReport, ErrorReporter
from qcore.model import TaskInfo
from qcore_reports import django_q
from qcore_reports.frames import format_stack, read_dump, release_locals
from qcore_reports.lateness import LATE_FOR, share, shared
from qcore_reports.outbox import Outbox
from qcore_reports.policy import Policy
from qcore_reports.reporters import Reporters
from qcore_testing.processes import Child
from tests.integration.land import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TASK = TaskInfo(id="ab" * 16, name="shop.tasks.pay", attempt=1, args=("card",), kwargs={"pin": 1})
REPORT = ErrorReport(task=TASK, kind="failure", summary="ValueError: no", text="Traceback", action="retry")


class Tracker(ErrorReporter):
    """Remembers what it is told."""

    def __init__(self, act: Callable[[], object] = lambda: None) -> None:
        self.told: list[ErrorReport] = []
        self.flushed = 0
        self.began = 0
        self._act = act

    def start(self) -> None:
        """Count."""
        self.began += 1

    def report(self, report: ErrorReport) -> None:
        """Remember it."""
        self._act()
        self.told.append(report)

    def flush(self, seconds: float) -> None:
        """Count."""
        self.flushed += 1


def reporters(tracker: ErrorReporter, **settings: Any) -> Reporters:
    """Return a reporter with settings that every reporter has."""
    policy, _ = Policy.read("tracker", settings)
    made = Reporters([("tracker", tracker, policy)], cluster="shop", label="blue", secrets=["hunter2-key"])
    made.start()
    return made


def raised(error: BaseException, local: object = None) -> BaseException:
    """Return an exception as it is caught."""
    try:
        raise error
    except BaseException as caught:
        return caught


# -- what a report has ------------------------------------------------------------------------


def test_a_report_says_where_it_comes_from_and_hides_secrets() -> None:
    """Queue, cluster and worker are added; keys and arguments do not leave."""
    tracker = Tracker()
    told = reporters(tracker)

    told.report(attrs.evolve(REPORT, summary="ValueError: hunter2-key", text="a hunter2-key b"))
    told.flush()

    (report,) = tracker.told
    assert (report.cluster, report.label) == ("shop", "blue")
    assert report.worker.endswith(f":{os.getpid()}")
    assert (report.summary, report.text) == ("ValueError: ***", "a *** b")
    assert (report.task.args, report.task.kwargs) == ((), {})
    assert (tracker.began, tracker.flushed, told.made, told.lost) == (1, 1, 1, 0)


def test_arguments_are_sent_if_asked_for() -> None:
    """`send_arguments` includes them, and the reporter knows."""
    tracker = Tracker()
    told = reporters(tracker, send_arguments=True)

    told.report(REPORT)
    told.flush()

    assert tracker.told[0].task.args == ("card",)
    assert tracker.send_arguments


def test_locals_of_a_failed_task_end_at_once() -> None:
    """A lock or a transaction in a variable must not live until the report was made."""

    class Lock:
        pass

    def fail() -> None:
        lock = Lock()
        alive.append(weakref.ref(lock))
        raise ValueError

    alive: list[weakref.ref[Lock]] = []
    try:
        fail()
    except ValueError as exc:
        error = exc
    assert alive[0]() is not None

    release_locals(error)

    assert alive[0]() is None


def test_a_generator_that_waits_is_left_alone() -> None:
    """Its frame may be in the traceback of an exception that it has caught."""

    def listen() -> Any:
        try:
            yield 1
        except ValueError as exc:
            errors.append(exc)
        yield 2
        yield 3

    errors: list[ValueError] = []
    generator = listen()
    next(generator)
    generator.throw(ValueError())

    release_locals(errors[0])

    assert next(generator) == 3


def test_a_stack_is_read_from_what_faulthandler_writes() -> None:
    """The innermost frame comes last, as in a traceback."""
    text = (
        'Current thread 0x1 (most recent call first):\n  File "b.py", line 2 in g\n  File "a.py", line 1 in f'
    )

    stack = read_dump(text)

    assert stack == (("a.py", 1, "f"), ("b.py", 2, "g"))
    assert format_stack(stack).splitlines()[-1] == '  File "b.py", line 2, in g'
    assert format_stack(()) == ""


# -- which are reported -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("report_on", "action", "wanted"),
    [
        ("every", "retry", True),
        ("final", "retry", False),
        ("final", "ack", True),
        ("final", "dead_letter", True),
        ("final", "", True),
        ("never", "ack", False),
        ({"shop.*": "final"}, "retry", False),
        ({"shop.*": "never", "shop.tasks.pay": "every"}, "retry", True),
        ({"*": "never", "shop.*": "final"}, "ack", True),
        ({"other.*": "never"}, "retry", True),
    ],
)
def test_report_on_decides_by_task_and_by_what_follows(report_on: Any, action: str, wanted: bool) -> None:
    """The longest pattern that fits the task's name counts."""
    policy, _ = Policy.read("tracker", {"report_on": report_on})

    assert policy.wants(attrs.evolve(REPORT, action=action)) is wanted


@pytest.mark.parametrize(
    ("ignore", "error", "wanted"),
    [
        (["ValueError"], ValueError(), False),
        (["builtins.ValueError"], ValueError(), False),
        (["ArithmeticError"], ZeroDivisionError(), False),
        (["KeyError"], ValueError(), True),
        (["WorkerDied"], None, False),
        (["KeyError"], None, True),
    ],
)
def test_exceptions_are_ignored_by_name(ignore: list[str], error: BaseException | None, wanted: bool) -> None:
    """With or without their module, and those that inherit from them."""
    policy, _ = Policy.read("tracker", {"ignore": ignore})
    report = attrs.evolve(REPORT, error=error, summary="WorkerDied: by a signal")

    assert policy.wants(report) is wanted


def test_settings_of_every_reporter_are_checked_and_the_rest_is_its_own() -> None:
    """All problems are told at once."""
    with pytest.raises(ConfigError) as caught:
        Policy.read("tracker", {"report_on": "often", "ignore": "ValueError", "send_arguments": 1})

    text = str(caught.value)
    assert "error_reporter.tracker.report_on: got 'often'; must be every, final, never, or a table" in text
    assert "error_reporter.tracker.ignore: got 'ValueError'; must be a list" in text
    assert "error_reporter.tracker.send_arguments: got 1; must be true or false" in text
    assert Policy.read("tracker", {"dsn": "x", "ignore": []})[1] == {"dsn": "x"}


# -- a reporter that is wrong -----------------------------------------------------------------


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return them."""
        return self.now


class Counts:
    """Counts made and lost reports."""

    def __init__(self) -> None:
        self.made = self.lost = 0

    def __call__(self, made: int, lost: int) -> None:
        """Add to them."""
        self.made += made
        self.lost += lost


def fail() -> None:
    """Be offline."""
    raise ConnectionRefusedError("nobody listens")


def test_one_that_fails_is_left_alone_for_a_while_and_told_of_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After three errors it is not called for half a minute; then it is tried again."""
    clock, count, calls = Clock(), Counts(), []
    outbox = Outbox("tracker", lambda _: None, count, clock)

    for _ in range(50):
        outbox.put(fail)
        until(lambda: outbox._began == 0.0)
    until(lambda: count.lost == 50)
    assert len(caplog.records) == 1
    assert "error reporter tracker: a report is lost: ConnectionRefusedError: nobody" in caplog.text

    clock.now += 31
    outbox.put(lambda: calls.append(1))
    until(lambda: count.made == 1)
    clock.now += 60
    outbox.put(fail)
    until(lambda: len(caplog.records) == 2)
    assert "(and 49 more like it since the last line)" in caplog.text


def test_one_that_hangs_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Its reports are lost once it hangs, and a flush does not wait for it."""
    clock, count, over = Clock(), Counts(), threading.Event()
    outbox = Outbox("tracker", lambda _: None, count, clock)
    outbox.put(partial(over.wait, 60))  # type: ignore[arg-type]  # its result is nobody's
    until(lambda: outbox._began > 0)

    for _ in range(150):
        outbox.put(lambda: None)
    assert count.lost == 50
    assert "100 reports wait already" in caplog.text

    clock.now += 6
    outbox.put(lambda: None)
    assert count.lost == 51
    assert not outbox.begin_flush(clock.now + 60)()

    over.set()
    until(lambda: count.made == 101)
    assert outbox.begin_flush(clock.now + 60)()


def test_a_fork_gets_a_thread_of_its_own() -> None:
    """The thread of the parent is not in the child."""
    outbox = Outbox("tracker", lambda _: None, Counts())
    outbox.put(lambda: None)
    made = threading.Event()
    outbox._pid = -1  # as a child finds it

    outbox.put(made.set)

    assert made.wait(60)


def test_what_a_reporter_raises_hurts_nobody() -> None:
    """It is counted, and others are told."""
    good = Tracker()
    policy, _ = Policy.read("tracker", {})
    told = Reporters([("bad", Tracker(fail), policy), ("good", good, policy)])

    told.report(REPORT)
    told.flush()

    assert (told.made, told.lost, len(good.told)) == (1, 1, 1)


def test_an_exception_that_answers_by_another_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is the user's, and may do so whatever it is asked for."""

    class Odd(Exception):
        @property
        def __cause__(self) -> BaseException:  # type: ignore[override]  # as odd as can be
            raise ZeroDivisionError

    told = reporters(Tracker())

    told.report(attrs.evolve(REPORT, error=raised(Odd())))

    assert told.lost == 1
    assert f"a failure is not reported: task {TASK.id}" in caplog.text


def test_without_reporters_nothing_is_begun() -> None:
    """Neither a thread nor a report."""
    before = threading.active_count()
    told = Reporters(())

    told.report(REPORT)
    told.trouble("QueueMissing: gone")
    told.flush()

    assert not told
    assert threading.active_count() == before


# -- those of Django-Q ------------------------------------------------------------------------


class Point:
    """An entry point."""

    def __init__(self, name: str, found: object, module: str = "their_package") -> None:
        self.name, self.module, self.value = name, module, f"{module}:Reporter"
        self._found = found

    def load(self) -> object:
        """Import it."""
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


class Theirs:
    """A reporter as Django-Q wants it."""

    seen: list[object]

    def __init__(self, access_token: str) -> None:
        self.token = access_token

    def report(self) -> None:
        """Look at the exception that is being handled."""
        import sys

        self.seen.append((self.token, sys.exc_info()[1]))


def test_a_reporter_of_django_q_finds_the_exception() -> None:
    """`report()` is called while the exception is handled; a death has one that stands for it."""
    Theirs.seen = []
    make = django_q.find("theirs", [Point("theirs", Theirs), Point("other", fail)])  # type: ignore[list-item]  # as one
    assert make is not None
    reporter, error = make(access_token="t"), raised(ValueError("no"))
    trace = error.__traceback__

    reporter.report(attrs.evolve(REPORT, error=error))
    reporter.report(attrs.evolve(REPORT, summary="WorkerDied: by a signal"))

    (first, second) = Theirs.seen
    assert first == ("t", error)
    assert error.__traceback__ is trace
    assert str(second[1]) == "shop.tasks.pay: WorkerDied: by a signal"  # type: ignore[index]  # a pair


def test_what_django_q_names_and_is_not_there_is_none() -> None:
    """Its own distribution names two packages that nobody has to have."""
    gone = ModuleNotFoundError("no", name="django_q_sentry")

    assert django_q.find("sentry", [Point("sentry", gone, "django_q_sentry")]) is None  # type: ignore[list-item]  # as one
    with pytest.raises(PluginError, match="their_package:Reporter: OSError: broken"):
        django_q.find("x", [Point("x", OSError("broken"))])  # type: ignore[list-item]  # as one
    with pytest.raises(PluginError, match="needs"):
        django_q.find("x", [Point("x", ModuleNotFoundError("needs y", name="y"))])  # type: ignore[list-item]  # as one


def test_a_flush_waits_for_what_is_queued() -> None:
    """All reports are made when it returns."""
    slow = Tracker(lambda: threading.Event().wait(0.03))
    told = reporters(slow)

    for _ in range(5):
        told.report(REPORT)
    told.flush()

    assert (len(slow.told), slow.flushed) == (5, 1)


class Tracer(Tracker):
    """Hears of runs, too."""

    def qcore_post_execute(self, event: object) -> None:
        """Keep something that a flush sends."""


def test_one_that_hears_of_runs_is_flushed_without_a_failure() -> None:
    """It may have something to send; one that hears of failures alone has not, and costs no thread."""
    for tracker, flushes in ((Tracer(), 1), (Tracker(), 0)):
        threads = threading.active_count()
        told = reporters(tracker)
        told.flush()

        assert tracker.flushed == flushes
        assert threading.active_count() == threads + flushes


class Unsent(Tracer):
    """Has something to send to a service that does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[float] = []

    def flush(self, seconds: float) -> None:
        """Send for so long."""
        self.given.append(seconds)
        threading.Event().wait(seconds)


def test_a_service_that_does_not_answer_is_waited_for_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each worker that is replaced would wait for it; other reporters have their time."""
    monkeypatch.setattr("qcore_reports.reporters.FLUSH_SECONDS", 0.5)
    unsent, other = Unsent(), Tracer()
    policy, _ = Policy.read("tracker", {})
    workers = Reporters([("unsent", unsent, policy), ("other", other, policy)])
    workers.start()

    for _ in range(3):
        workers.flush()
    first, *others = unsent.given
    assert first > 0.4
    assert all(0 < seconds <= 0.02 for seconds in others)
    assert (len(others), other.flushed) == (2, 3)
    assert caplog.text.count("unsent: what waited could not be sent within 0.5 s;") == 1


def test_workers_tell_one_another_which_service_does_not_answer() -> None:
    """By memory that they share with the process that they are forked from."""
    share()

    def note(tell: Callable[[str], None]) -> None:
        shared().note(1, 100.0)
        tell("noted")

    def look(tell: Callable[[str], None]) -> None:
        found = shared()
        tell(str([found.is_late(0, 101.0), found.is_late(1, 101.0), found.is_late(1, 101.0 + LATE_FOR)]))

    for work, told in ((look, "[False, False, False]"), (note, "noted"), (look, "[False, True, False]")):
        with Child(work) as child:
            assert child.line() == told
    assert not shared().is_late(1, 101.0)


def test_one_that_has_not_begun_is_not_flushed() -> None:
    """It has heard nothing."""
    tracker = Tracer()
    policy, _ = Policy.read("tracker", {})
    Reporters([("tracker", tracker, policy)]).flush()

    assert tracker.flushed == 0


def test_a_program_that_runs_tasks_itself_reports_them(tmp_path: Path) -> None:
    """With `sync` a failure is reported by the program, at the latest when it ends."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["task failed pay ValueError ack", "the end"]


PROGRAM = """
import logging, sys
from qcore import App, Config

class Shown(logging.Handler):
    def emit(self, record):
        print(record.args[0], record.args[2].rpartition(".")[2], record.args[4], "ack")

logging.getLogger("qcore.reports").addHandler(Shown())
app = App(Config.from_dict({"memory": {}, "sync": True, "error_reporter": {"log": {}}}))

@app.task
def pay():
    raise ValueError("no")

if __name__ == "__main__":
    pay.enqueue()
    print("the end")
"""


class SlowStart(Tracker):
    """A reporter that begins to work as long as a gate is closed, in the process that made it."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.gate, self.starts, self._pid = threading.Event(), threading.Event(), 0, os.getpid()

    def start(self) -> None:
        """Wait at the gate."""
        self.starts += 1
        if os.getpid() == self._pid:
            self.begun.set()
            assert self.gate.wait(45)


def test_a_child_forked_while_reporters_begin_has_them_begin_by_itself() -> None:
    """It does not wait for a thread that it has not; another thread of the parent waits until they work."""
    slow = SlowStart()
    made = Reporters([("slow", slow, Policy())])
    threads = [threading.Thread(target=made.start) for _ in range(2)]
    for thread in threads:
        thread.start()
    slow.begun.wait(45)
    try:

        def tell_starts(tell: Callable[[str], None]) -> None:
            made.start()
            tell(str(slow.starts))

        with Child(tell_starts) as child:
            assert child.line() == "2"
    finally:
        slow.gate.set()
        for thread in threads:
            thread.join()
    assert slow.starts == 1
