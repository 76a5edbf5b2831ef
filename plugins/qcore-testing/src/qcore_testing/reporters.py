"""Whether an error reporter keeps to its interface."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, NoReturn, Protocol

import pytest

from qcore.model import TaskInfo
from qcore_testing.contract import Contract, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable

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

    def test_failures_reach_the_tracker(self, new: MakeReporter, received: Callable[[], str]) -> None:
        """It reaches the tracker, with its task and its text, at the latest when `flush` returns."""
        reporter = new()
        error = failure(ValueError("the pump is dry"))

        reporter.report(a_task(), error, "Traceback (most recent call last):\nValueError: the pump is dry")
        reporter.report(a_task(name="shop.tasks.ship"), None, "the worker died of signal 9")
        reporter.flush(self.timeout)

        sent = received()
        words = ("shop.tasks.pay", "ValueError", "the pump is dry", "shop.tasks.ship", "died of signal 9")
        missing = [word for word in words if word not in sent]
        assert not missing, f"of 2 failures, {missing} did not reach the tracker; it was sent {sent[:500]!r}"

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
    def test_nothing_is_raised(
        self, new: MakeReporter, task: TaskInfo, error: BaseException | None, text: str
    ) -> None:
        """It does not raise."""
        reporter = new()

        reporter.report(task, error and failure(error), text)
        reporter.flush(self.time_unit)

    def test_the_network_is_not_waited_for(self, new: MakeReporter, monkeypatch: pytest.MonkeyPatch) -> None:
        """It does not wait for the network."""
        reporter = new()

        def hang(*_: object, **__: object) -> NoReturn:
            threading.Event().wait(self.timeout / 10)
            raise TimeoutError("the network of this test is not there")

        monkeypatch.setattr(socket.socket, "connect", hang)
        since = Stopwatch()
        for _ in range(30):
            reporter.report(a_task(), failure(ValueError("plain")), "Traceback ...")

        self.soon(since)

    def test_a_flush_ends(self, new: MakeReporter, monkeypatch: pytest.MonkeyPatch) -> None:
        """Send what is waiting, for at most `seconds`."""
        reporter = new()

        def hang(*_: object, **__: object) -> NoReturn:
            threading.Event().wait(2 * self.timeout)
            raise TimeoutError("the network of this test is not there")

        monkeypatch.setattr(socket.socket, "connect", hang)
        reporter.report(a_task(), failure(ValueError("plain")), "Traceback ...")
        since = Stopwatch()
        reporter.flush(self.time_unit)
        reporter.flush(0.0)

        self.soon(since)
