"""Whether an error reporter keeps to its interface."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, Protocol

import pytest

from qcore.errors import ReportLost
from qcore.interfaces import ErrorReport
from qcore.model import TaskInfo
from qcore_testing.contract import Contract, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qcore.interfaces import ErrorReporter


class MakeReporter(Protocol):
    """The fixture `make` of `ErrorReporterContract`."""

    def __call__(self) -> ErrorReporter:
        """Return a new reporter."""


class Unspeakable(Exception):
    """Cannot even be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def failure(error: BaseException) -> BaseException:
    """Return the error as if it had been raised, with a traceback."""

    def fail() -> NoReturn:
        raise error

    try:
        fail()
    except BaseException as raised:  # noqa: BLE001 - of any kind, that is what it is for
        return raised


def a_report(
    task: TaskInfo, error: BaseException | None, text: str, *, kind: str = "failure", action: str = "retry"
) -> ErrorReport:
    """Return the report of a run that failed."""
    summary = "WorkerDied: it was killed" if error is None else f"{type(error).__name__}: no"
    return ErrorReport(task=task, kind=kind, summary=summary, text=text, error=error, action=action)


def a_task(**fields: object) -> TaskInfo:
    """Return a task that failed."""
    return TaskInfo(**{"id": "0" * 32, "name": "shop.tasks.pay", "attempt": 1, **fields})  # type: ignore[arg-type]  # its fields


class ErrorReporterContract(Contract):
    """What every reporter must keep to, one test a sentence of `qcore.interfaces.ErrorReporter`.

    Override two fixtures: `make` returns a function that returns a new reporter, `received` one that
    returns all that its tracker was sent in this test, as text. The tracker may be a stand-in; in
    other tests it need not be there.
    """

    @pytest.fixture
    def received(self) -> Callable[[], str]:
        """Return a function that returns what reached the tracker; to be overridden."""
        pytest.fail(
            f"{type(self).__name__} must override the fixture `received`: it returns a function that"
            " returns what the tracker was sent, as text"
        )

    @pytest.fixture
    def new(self, make: MakeReporter) -> Iterator[Callable[..., ErrorReporter]]:
        """Return what `make` does, and begins to work; what it made is flushed in the end."""
        made: list[ErrorReporter] = []

        def new(*, send_arguments: bool = False, secrets: Sequence[str] = ()) -> ErrorReporter:
            reporter = make()
            reporter.send_arguments, reporter.secrets = send_arguments, secrets
            reporter.preload()
            reporter.start()
            made.append(reporter)
            return reporter

        yield new
        for one in made:
            one.flush(0.0)

    def test_failures_reach_the_tracker(self, new: MakeReporter, received: Callable[[], str]) -> None:
        """It reaches the tracker, with its task and its text, at the latest when `flush` returns."""
        reporter = new()
        error = failure(ValueError("the pump is dry"))

        text = "Traceback (most recent call last):\nValueError: the pump is dry"
        reporter.report(a_report(a_task(), error, text))
        died = a_report(a_task(name="shop.tasks.ship"), None, "the worker died of signal 9", kind="crash")
        reporter.report(died)
        reporter.flush(self.timeout)

        sent = received()
        words = ("shop.tasks.pay", "ValueError", "the pump is dry", "shop.tasks.ship", "died of signal 9")
        missing = [word for word in words if word not in sent]
        assert not missing, f"of 2 failures, {missing} did not reach the tracker; it was sent {sent[:500]!r}"

    def test_what_is_no_task_reaches_the_tracker(
        self, new: MakeReporter, received: Callable[[], str]
    ) -> None:
        """Begin to work in this process; called once, by its main thread, after its last fork.

        Then whatever comes is reported.
        """
        reporter = new()
        task = a_task(name="", id="", attempt=0, schedule="nightly")

        reporter.report(a_report(task, None, "schedule 'nightly': no such task", kind="schedule", action=""))
        reporter.report(a_report(a_task(name="", id=""), None, "pump lost", kind="supervisor", action=""))
        reporter.flush(self.timeout)

        sent = received()
        missing = [word for word in ("nightly", "no such task", "pump lost") if word not in sent]
        assert not missing, f"{missing} did not reach the tracker; it was sent {sent[:500]!r}"

    @pytest.mark.parametrize(
        ("task", "error", "text"),
        [
            (a_task(), ValueError("plain"), "Traceback (most recent call last):\n  ..."),
            (a_task(), None, "the worker died"),
            (a_task(name="", id="", attempt=0), None, ""),
            (
                a_task(name="a\x1b[2Jb\r\n\0"),
                ValueError("\ud800\x00\x1b]52;c;"),
                "\ud800\u202e\x00\x1b[31m" * 9,
            ),
            (a_task(args=(object(), Unspeakable()), kwargs={"\n": b"\xff"}), KeyError(), "x" * 2_000_000),
            (a_task(headers={"\ud800": "\0"}), Unspeakable(), "has no text"),
            (a_task(group="g", timeout=3.0), SystemExit(3), "left"),
            (a_task(), ExceptionGroup("many", [ValueError("1"), TypeError("2")]), "group"),
        ],
    )
    @pytest.mark.parametrize("send_arguments", [False, True])
    def test_nothing_is_raised(
        self,
        new: Callable[..., ErrorReporter],
        task: TaskInfo,
        error: BaseException | None,
        text: str,
        send_arguments: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        """Whatever characters texts have, and whatever the methods of an error raise, it is reported.

        What it raises says why this report, or one before it, is lost; that is counted and logged.
        """
        reporter = new(send_arguments=send_arguments)

        reporter.report(a_report(task, error and failure(error), text))
        reporter.flush(self.time_unit)

    def test_a_flush_ends(self, new: MakeReporter, monkeypatch: pytest.MonkeyPatch) -> None:
        """Send what is waiting, for at most `seconds`."""
        reporter = new()

        def hang(*_: object, **__: object) -> NoReturn:
            threading.Event().wait(2 * self.time_unit)
            raise TimeoutError("the network of this test is not there")

        monkeypatch.setattr(socket.socket, "connect", hang)
        # One that sends at once says so by raising, and one that sends later in a later report.
        with suppress(OSError, ReportLost):
            reporter.report(a_report(a_task(), failure(ValueError("plain")), "Traceback ..."))
        since = Stopwatch()
        reporter.flush(self.time_unit)
        reporter.flush(0.0)

        self.soon(since)

    def test_no_thread_is_started_before_the_fork(self, make: MakeReporter) -> None:
        """Import what `start` needs; called in the process that workers are forked from. Start no thread."""
        before = threading.active_count()
        reporter = make()

        reporter.preload()

        assert threading.active_count() == before, "a thread is not in the workers, which are forked"

    def test_what_is_handed_on_holds_nobody_up(self, new: MakeReporter, received: Callable[[], str]) -> None:
        """Take what a worker's reporter has handed on; called in any thread of a supervisor, and brief.

        What it cannot read it may raise for, which is counted as lost, and it goes on.
        """
        reporter = new()

        raised: list[Exception] = []

        def take() -> None:
            for data in (b"", b"\xff" * 99):
                try:
                    reporter.receive(data)
                except Exception as exc:  # noqa: BLE001 - of any kind; it is counted
                    raised.append(exc)

        since = Stopwatch()
        thread = threading.Thread(target=take)
        thread.start()
        thread.join(self.timeout)
        self.soon(since)

        reporter.report(a_report(a_task(), None, "the worker died of signal 9", kind="crash"))
        reporter.report(a_report(a_task(), None, "the worker died of signal 11", kind="crash"))
        reporter.flush(self.timeout)
        sent = received()
        assert "died of signal 9" in sent, (
            f"after {raised}, a failure did not reach the tracker: {sent[:500]!r}"
        )

    def test_what_waits_for_nothing_is_not_flushed(
        self, new: MakeReporter, received: Callable[[], str]
    ) -> None:
        """Return whether `flush` has anything to do; one that hears of failures alone is not asked.

        Where it says that there is nothing, all has been sent.
        """
        reporter = new()
        reporter.report(a_report(a_task(), None, "the worker died of signal 9", kind="crash"))
        reporter.report(a_report(a_task(), None, "the worker died of signal 11", kind="crash"))
        waits = reporter.waits()
        assert isinstance(waits, bool), f"waits() returned {waits!r}, no bool"
        if waits:
            reporter.flush(self.timeout)

        assert "died of signal 9" in received()

    def test_any_headers_are_judged(self, new: MakeReporter) -> None:
        """Return whether the hooks of a run are to be called; asked in the thread of the task, before it.

        Whoever enqueues may give a message any headers, and none of them makes it raise.
        """
        reporter = new()
        for headers in ({}, {"traceparent": "\ud800"}, {"": ""}, {"otel-sampled": "0", "baggage": ","}):
            wanted = reporter.wants_run(headers)
            assert isinstance(wanted, bool), f"wants_run({headers!r}) returned {wanted!r}, no bool"

    def test_secrets_are_hidden(self, new: Callable[..., ErrorReporter]) -> None:
        """Return a copy of a payload's value in which no text contains one of `secrets`."""
        reporter = new(secrets=["hunter2-hunter2"])

        hidden = reporter.redact({"a": ["say hunter2-hunter2", 1, None], "hunter2-hunter2": (True, b"x")})

        assert hidden == {"a": ["say ***", 1, None], "***": [True, b"x"]}
