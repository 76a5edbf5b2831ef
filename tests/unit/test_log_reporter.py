"""What the log reporter writes."""

from __future__ import annotations

import logging

import pytest

from qcore.interfaces import ErrorReport
from qcore.model import TaskInfo
from qcore_reports.log_reporter import LogReporter, printable


def told(error: BaseException | None, text: str, action: str = "ack") -> ErrorReport:
    """Return the report of a failure."""
    summary = "WorkerDied: killed by signal 9" if error is None else f"{type(error).__name__}: no"
    return ErrorReport(task=TASK, kind="failure", summary=summary, text=text, error=error, action=action)


TASK = TaskInfo(id="ab" * 16, name="shop.tasks.pay", attempt=3, args=("secret",), kwargs={"card": "1234"})


def test_a_failure_is_one_error_line(caplog: pytest.LogCaptureFixture) -> None:
    """Ids, attempt, type of the error and traceback stand in one line."""
    LogReporter().report(told(ValueError("no"), "Traceback:\n  line 1\nValueError: no"))

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.name == "qcore.reports"
    assert record.getMessage() == (
        f"task failed id={TASK.id} name=shop.tasks.pay attempt=3 error=ValueError:"
        r" Traceback:\n  line 1\nValueError: no"
    )


def test_a_failure_that_will_run_again_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """An ERROR is final; both say of which task they are, in fields of their own."""
    LogReporter().report(told(ValueError("no"), "text", action="retry"))

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (vars(record)["task_id"], vars(record)["attempt"]) == (TASK.id, 3)


def test_arguments_are_not_written(caplog: pytest.LogCaptureFixture) -> None:
    """Arguments may be secrets."""
    LogReporter().report(told(ValueError("no"), "text"))

    assert "secret" not in caplog.text
    assert "1234" not in caplog.text


def test_a_dead_worker_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Without an exception it was the worker that died."""
    LogReporter().report(told(None, "killed by signal 9"))

    assert "error=WorkerDied: killed by signal 9" in caplog.text


def test_the_logger_may_be_chosen(caplog: pytest.LogCaptureFixture) -> None:
    """The user's settings name the logger."""
    reporter = LogReporter(logger="shop.failures")
    reporter.report(told(None, "text"))
    reporter.flush(1.0)

    assert caplog.records[0].name == "shop.failures"


def test_a_long_text_keeps_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """The end of a traceback says what went wrong."""
    LogReporter().report(told(RecursionError(), "x" * 1_000_000 + "the end"))

    assert len(caplog.records[0].getMessage()) < 20_000
    assert caplog.records[0].getMessage().endswith("the end")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain \N{SNOWMAN} text", "plain \N{SNOWMAN} text"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\r\nERROR forged", r"a\r\nERROR forged"),
        ("\0\x07\x7f\x9b", r"\x00\x07\x7f\x9b"),
        ("\u202eright to left", r"\u202eright to left"),
        ("\u2028line", r"\u2028line"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_could_forge_a_line_is_written_out(text: str, expected: str) -> None:
    """Control characters cannot break the line or move a terminal's cursor."""
    assert printable(text) == expected
