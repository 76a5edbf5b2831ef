"""What Rollbar gets of a failure."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import rollbar

from qcore.errors import ConfigError, ReportLost
from qcore.interfaces import ErrorReport
from qcore.model import TaskInfo
from qcore_rollbar import RollbarReporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Rollbar

TASK = TaskInfo(id="ab" * 16, name="shop.pay", args=("canary-argument",), attempt=2, queue="mail")
KEY = "canary-of-the-key-0123456789-0123456789"


def failed(error: BaseException | None = None, **fields: Any) -> ErrorReport:
    """Return the report of a failure."""
    if error is not None:
        try:
            # not as it is written here: the lines of the source are sent
            local = f"canary-in-a-{'local'}"
            raise error if local else AssertionError
        except BaseException as caught:
            error = caught
    given = {"task": TASK, "kind": "failure", "summary": "ValueError: no", "text": "Traceback"}
    more = {"action": "retry", "error": error, "cluster": "shop", "label": "blue"}
    return ErrorReport(**(given | more | fields))  # type: ignore[arg-type]  # its fields


def test_a_failure_is_an_item_with_its_task(
    started: Callable[..., RollbarReporter], service: Rollbar
) -> None:
    """Task, queue and what follows are beside it; one item for a task and an exception."""
    reporter = started()

    reporter.report(failed(ValueError("first")))
    reporter.report(failed(ValueError("second"), action="dead_letter"))
    reporter.flush(30)

    first, second = service.items()
    assert first["fingerprint"] == second["fingerprint"]
    assert len(first["fingerprint"]) == 40
    assert (first["level"], second["level"]) == ("warning", "error")
    assert (first["environment"], first["context"]) == ("Django-Q", "shop.pay")
    assert first["body"]["trace"]["exception"] == {"class": "ValueError", "message": "first"}
    assert first["body"]["trace"]["frames"][-1]["method"] == "failed"
    custom = first["custom"]
    assert (custom["task"], custom["id"]) == ("shop.pay", TASK.id)
    assert (custom["cluster"], custom["label"], custom["queue"]) == ("shop", "blue", "mail")
    assert (custom["attempt"], custom["runs_again"], custom["action"]) == (2, True, "retry")
    assert service.posted[0].headers["X-Rollbar-Access-Token"] == "32we33a92a5224jiww8982"


def test_arguments_locals_and_keys_stay_here(
    started: Callable[..., RollbarReporter], service: Rollbar
) -> None:
    """Unless they are asked for; keys never leave."""
    started().report(failed(ValueError(f"no {KEY}")))

    (item,) = service.items()
    assert item["body"]["trace"]["exception"]["message"] == "no ***"
    assert "locals" not in json.dumps(item["body"])
    assert not service.canaries()


def test_arguments_and_locals_are_sent_if_asked_for(
    started: Callable[..., RollbarReporter], service: Rollbar
) -> None:
    """`send_arguments` includes both."""
    started(send_arguments=True).report(failed(ValueError("no")))

    (item,) = service.items()
    assert item["custom"]["args"] == ["canary-argument"]
    assert item["body"]["trace"]["frames"][-1]["locals"]["local"] == "canary-in-a-local"


def test_a_hung_task_has_a_stack_without_an_exception(
    started: Callable[..., RollbarReporter], service: Rollbar
) -> None:
    """The supervisor took it from outside before it killed the worker."""
    stack = (("/app/shop.py", 3, "pay"), ("/app/bank.py", 7, "ask"))
    started().report(failed(kind="timeout", summary="TaskTimeout: too long", stack=stack))

    (item,) = service.items()
    assert list(item["body"]) == ["trace"]
    assert item["body"]["trace"]["exception"] == {"class": "TaskTimeout", "message": "too long"}
    assert item["body"]["trace"]["frames"][1] == {"filename": "/app/bank.py", "lineno": 7, "method": "ask"}
    assert item["title"] == "shop.pay: TaskTimeout: too long"


def test_what_has_neither_is_a_message(started: Callable[..., RollbarReporter], service: Rollbar) -> None:
    """A crash is critical, a schedule is named."""
    reporter = started()
    reporter.report(failed(kind="crash", action="ack", summary="WorkerDied: by a signal", text="died"))
    task = TaskInfo(id="", name="", schedule="nightly")
    reporter.report(failed(task=task, kind="schedule", action="", summary="TaskNotFound: x", text="gone"))

    crash, schedule = service.items()
    assert (crash["level"], crash["body"]["message"]["body"]) == ("critical", "died")
    assert schedule["title"] == "nightly: TaskNotFound: x"


def test_a_filter_gives_an_exception_its_level(
    started: Callable[..., RollbarReporter], service: Rollbar
) -> None:
    """By the name of its class, as a file has it; `ignored` sends nothing."""
    filters = [["KeyError", "ignored"], ["ValueError", "info"]]
    reporter = started(exception_level_filters=[[f"builtins.{name}", level] for name, level in filters])

    reporter.report(failed(KeyError("no")))
    reporter.report(failed(ValueError("no")))

    (item,) = service.items()
    assert item["level"] == "info"


def test_the_threads_of_the_sdk_are_waited_for(
    started: Callable[..., RollbarReporter], service: Rollbar
) -> None:
    """With the handler `thread` a flush comes back when all is sent."""
    reporter = started(handler="thread")
    for _ in range(5):
        reporter.report(failed(ValueError("no")))

    reporter.flush(30)

    assert len(service.items()) == 5


def test_a_flush_does_not_wait_for_a_service_that_hangs(
    started: Callable[..., RollbarReporter], service: Rollbar
) -> None:
    """The SDK waits without end."""
    reporter = started(handler="thread")
    service.holds.set()
    reporter.report(failed(ValueError("no")))
    began = time.monotonic()

    reporter.flush(0.1)

    assert time.monotonic() - began < 20


def test_what_cannot_be_sent_is_told_once_and_not_logged(
    started: Callable[..., RollbarReporter], service: Rollbar, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK logs each of them; here whoever counts the reports is told instead."""
    reporter = started()
    service.status = 429
    with pytest.raises(ReportLost, match="over rate limit"):
        reporter.report(failed(ValueError("no")))
    service.status = 500
    with pytest.raises(ReportLost, match="unexpected status code"):
        reporter.report(failed(ValueError("no")))
    service.close()
    with pytest.raises(ReportLost, match="Exception while posting item"):
        reporter.report(failed(ValueError("no")))

    assert not caplog.records


def test_wrong_settings_are_told_together() -> None:
    """The cluster does not start."""
    with pytest.raises(ConfigError) as caught:
        RollbarReporter(colour="red", handler="tornado")

    text = str(caught.value)
    assert "error_reporter.rollbar.colour: the SDK has no such setting" in text
    assert "error_reporter.rollbar.handler: got 'tornado'; in a worker it must be blocking, thread" in text
    assert "error_reporter.rollbar.access_token: missing" in text


def test_what_the_program_has_set_up_is_used(
    started: Callable[..., RollbarReporter], service: Rollbar, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK can be set up once only; another token is worth a warning."""
    rollbar.init("the program's token", "theirs", handler="blocking", endpoint=service.endpoint)

    started().report(failed(ValueError("no")))

    assert service.posted[0].headers["X-Rollbar-Access-Token"] == "the program's token"
    assert "another access token: that one is used" in caplog.text
