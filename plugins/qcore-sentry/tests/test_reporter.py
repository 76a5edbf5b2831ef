"""What Sentry gets of a failure, of a run and of a schedule."""

from __future__ import annotations

import logging
import time
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sentry_sdk

from qcore.errors import ConfigError, ReportLost
from qcore.hookspecs import EnqueueEvent, ExecuteEvent
from qcore.interfaces import ErrorReport
from qcore.model import Kind, Outcome, TaskInfo
from qcore_calendar.schedule import Schedule
from qcore_sentry import SentryReporter, plugin
from qcore_sentry.monitors import monitor_config, slug
from qcore_testing.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Sentry

TASK = TaskInfo(
    id="ab" * 16, name="shop.pay", args=("canary-argument",), attempt=2, queue="mail", enqueued=time.time()
)
KEY = "canary-of-the-key-0123456789-0123456789"


def failed(error: BaseException | None = None, **fields: Any) -> ErrorReport:
    """Return the report of a failure."""
    if error is not None:
        try:
            # not as it is written here: the lines of the source are sent
            password = f"canary-in-a-{'local'}"
            raise error if password else AssertionError
        except BaseException as caught:
            error = caught
    given = {
        "task": TASK,
        "kind": "failure",
        "summary": "ValueError: no",
        "text": "Traceback",
        "action": "retry",
    }
    return ErrorReport(**{**given, "error": error, "cluster": "shop", "label": "blue", **fields})  # type: ignore[arg-type]  # its fields


def test_a_failure_is_an_event_with_its_task(started: Callable[..., SentryReporter], sentry: Sentry) -> None:
    """Task, queue and what follows are there; one issue for a task and an exception."""
    reporter = started()

    reporter.report(failed(ValueError("first")))
    reporter.report(failed(ValueError("second"), action="dead_letter"))
    reporter.flush(30)

    first, second = sentry.items("event")
    assert first["fingerprint"] == second["fingerprint"] == ["qcore", "shop.pay", "ValueError"]
    assert (first["level"], second["level"]) == ("warning", "error")
    assert first["transaction"] == "shop.pay"
    assert first["exception"]["values"][0]["value"] == "first"
    assert first["exception"]["values"][0]["mechanism"] == {"type": "qcore", "handled": False}
    tags = first["tags"]
    assert (tags["qcore.cluster"], tags["qcore.label"], tags["qcore.queue"]) == ("shop", "blue", "mail")
    assert first["tags"]["qcore.action"] == "retry"
    assert first["contexts"]["qcore"]["id"] == TASK.id
    assert first["contexts"]["qcore"]["runs_again"] is True


def test_arguments_locals_and_keys_stay_here(started: Callable[..., SentryReporter], sentry: Sentry) -> None:
    """Unless they are asked for; keys never leave."""
    started().report(failed(ValueError(f"no {KEY}")))
    sentry_sdk.flush(30)

    assert sentry.items("event")[0]["exception"]["values"][0]["value"] == "no ***"
    assert not sentry.canaries()


def test_arguments_and_locals_are_sent_if_asked_for(
    started: Callable[..., SentryReporter], sentry: Sentry
) -> None:
    """`send_arguments` includes both; Sentry's own scrubber hides what is called a password."""
    started(send_arguments=True).report(failed(ValueError("no")))
    sentry_sdk.flush(30)

    (event,) = sentry.items("event")
    assert event["contexts"]["qcore"]["args"] == ["canary-argument"]
    assert event["exception"]["values"][0]["stacktrace"]["frames"][-1]["vars"]["password"] == "[Filtered]"


def test_a_hung_task_has_a_stack_without_an_exception(
    started: Callable[..., SentryReporter], sentry: Sentry
) -> None:
    """The supervisor took it from outside before it killed the worker."""
    stack = (("/app/shop.py", 3, "pay"), ("/app/bank.py", 7, "ask"))
    started().report(failed(kind="timeout", summary="TaskTimeout: too long", stack=stack))
    sentry_sdk.flush(30)

    (value,) = sentry.items("event")[0]["exception"]["values"]
    assert (value["type"], value["value"]) == ("TaskTimeout", "too long")
    assert [frame["function"] for frame in value["stacktrace"]["frames"]] == ["pay", "ask"]
    assert value["stacktrace"]["frames"][1]["lineno"] == 7


def test_an_error_line_of_ours_is_no_second_event(
    started: Callable[..., SentryReporter], sentry: Sentry
) -> None:
    """The SDK makes an event of each ERROR line, and these are reported already."""
    started()

    logging.getLogger("qcore.maintenance").error("task x: it failed")
    logging.getLogger("shop").error("the shop's own")
    sentry_sdk.flush(30)

    assert [event["logger"] for event in sentry.items("event")] == ["shop"]


def run(
    reporter: SentryReporter,
    task: TaskInfo,
    work: Callable[[], object],
    kind: Kind = Kind.SUCCESS,
    base: Context | None = None,
) -> None:
    """Run a task as a worker does, in a context of its own; report it if it fails."""
    context = copy_context() if base is None else base.copy()
    context.run(reporter.qcore_pre_execute, ExecuteEvent(task=task))
    context.run(work)
    if end := getattr(reporter, "qcore_post_execute", None):
        context.run(end, ExecuteEvent(task=task, outcome=Outcome(kind)))
    if kind is not Kind.SUCCESS:
        context.copy().run(reporter.report, failed(ValueError("no"), task=task))


def test_a_trace_goes_on_in_the_worker(started: Callable[..., SentryReporter], sentry: Sentry) -> None:
    """Producer and consumer have spans by Sentry's conventions for queues, in one trace."""
    reporter = started(traces_sample_rate=1.0)
    event = EnqueueEvent(task=TASK, headers={}, cluster="shop")
    with sentry_sdk.start_transaction(op="http.server", name="checkout"):
        plugin.qcore_pre_enqueue(event)
    sent = {"queue": TASK.queue, "enqueued": time.time() - 5, "headers": event.headers}
    task = TaskInfo(id=TASK.id, name="shop.pay", attempt=2, **sent)

    run(reporter, task, lambda: sentry_sdk.start_span(op="db", name="select").finish(), Kind.FAILURE)
    reporter.flush(30)

    producer, consumer = sentry.items("transaction")
    (publish,) = producer["spans"]
    process, query = consumer["spans"]
    assert (publish["op"], process["op"], query["op"]) == ("queue.publish", "queue.process", "db")
    for span in (publish, process):
        assert span["data"]["messaging.message.id"] == TASK.id
        assert span["data"]["messaging.destination.name"] == "shop/mail"
    assert process["data"]["messaging.message.retry.count"] == 1
    assert process["data"]["messaging.message.receive.latency"] >= 5000
    trace = consumer["contexts"]["trace"]
    assert trace["trace_id"] == producer["contexts"]["trace"]["trace_id"]
    assert (trace["parent_span_id"], trace["status"]) == (publish["span_id"], "internal_error")
    (error,) = sentry.items("event")
    assert error["contexts"]["trace"]["trace_id"] == trace["trace_id"]
    assert error["contexts"]["trace"]["span_id"] == trace["span_id"]


def test_without_a_trace_the_message_stays_as_it_is(
    started: Callable[..., SentryReporter], sentry: Sentry
) -> None:
    """Headers cost a worker the plan that it has of equal messages."""
    event = EnqueueEvent(task=TASK, headers={}, cluster="shop")

    plugin.qcore_pre_enqueue(event)
    started()
    plugin.qcore_pre_enqueue(event)

    assert event.headers == {}


@pytest.mark.parametrize("options", [{}, {"traces_sample_rate": 0.0}, {"dsn": None}])
def test_breadcrumbs_and_tags_belong_to_one_run(
    started: Callable[..., SentryReporter], sentry: Sentry, options: dict[str, Any]
) -> None:
    """The next task in the same process has none of them; without traces nothing is done after it."""
    base = Context()
    if "dsn" in options:
        base.run(sentry_sdk.init, dsn=sentry.dsn, auto_enabling_integrations=False)
        base.run(sentry_sdk.set_tag, "all", "tasks")
    reporter = base.run(partial(started, **options))
    assert hasattr(reporter, "qcore_post_execute") is bool(options)

    def work() -> None:
        sentry_sdk.add_breadcrumb(message="first")
        sentry_sdk.set_tag("mine", "1")

    run(reporter, TASK, work, Kind.FAILURE, base)
    run(reporter, TASK, lambda: None, Kind.FAILURE, base)
    reporter.flush(30)

    first, second = sentry.items("event")
    assert [crumb["message"] for crumb in first["breadcrumbs"]["values"]] == ["first"]
    assert first["tags"]["mine"] == "1"
    assert "mine" not in second["tags"]
    assert not second.get("breadcrumbs", {}).get("values")


def test_what_the_task_has_reported_is_not_reported_again(
    started: Callable[..., SentryReporter], sentry: Sentry
) -> None:
    """The SDK knows an exception that it has just sent."""
    reporter = started()
    report = failed(ValueError("no"))

    def work() -> None:
        assert report.error is not None
        sentry_sdk.capture_exception(report.error)

    context = copy_context()
    context.run(work)
    context.copy().run(reporter.report, report)
    reporter.flush(30)

    assert len(sentry.items("event")) == 1


# -- schedules --------------------------------------------------------------------------------


def test_runs_of_a_schedule_are_checked_in(started: Callable[..., SentryReporter], sentry: Sentry) -> None:
    """With how often it fires, which whoever fires it knows."""
    reporter = started(check_ins=True)
    fields = {"name": "Nightly Sweep", "task": "shop.sweep", "time_zone": "Europe/Paris"}
    schedule = Schedule(rule="0 3 * * *", next_run=0.0, **fields)
    event = EnqueueEvent(task=TASK, headers={}, cluster="shop", schedule=schedule)
    plugin.qcore_pre_enqueue(event)
    task = TaskInfo(id=TASK.id, name="shop.sweep", attempt=1, headers=event.headers, schedule=schedule.name)

    run(reporter, task, lambda: None)
    crash = failed(task=task, kind="crash", summary="WorkerDied: by a signal")
    reporter.report(crash)
    reporter.flush(30)

    begun, done, died = sentry.items("check_in")
    assert (begun["status"], done["status"], died["status"]) == ("in_progress", "ok", "error")
    assert begun["monitor_slug"] == "nightly-sweep"
    assert begun["check_in_id"] == done["check_in_id"] == died["check_in_id"]
    assert begun["monitor_config"] == {
        "schedule": {"type": "crontab", "value": "0 3 * * *"},
        "timezone": "Europe/Paris",
    }
    assert done["duration"] >= 0


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("every 120", {"type": "interval", "value": 2, "unit": "minute"}),
        ("biweekly", {"type": "interval", "value": 2, "unit": "week"}),
        ("*/5 * * * *", {"type": "crontab", "value": "*/5 * * * *"}),
        ("every 90", None),
        ("once", None),
        ("* * * * * *", None),
    ],
)
def test_a_rule_that_sentry_cannot_count_has_no_configuration(rule: str, expected: Any) -> None:
    """Its unit is the minute."""
    found = monitor_config(Schedule(name="x", task="shop.x", rule=rule, next_run=0.0))

    assert found == (expected and {"schedule": expected, "timezone": "UTC"})


def test_a_name_becomes_one_that_sentry_takes() -> None:
    """Lower-case letters, digits, `-` and `_`, at most fifty."""
    assert slug("Nightly Sweep: été") == "nightly-sweep-t"
    assert slug("---") == "schedule"
    assert len(slug("x" * 90)) == 50


# -- settings ---------------------------------------------------------------------------------


def test_every_option_of_the_sdk_is_passed_on(started: Callable[..., SentryReporter], sentry: Sentry) -> None:
    """Functions and integrations may be dotted paths, as a file has them."""
    integrations = ["sentry_sdk.integrations.stdlib.StdlibIntegration"]
    function = "sentry_sdk.utils.safe_repr"
    started(environment="night", release="r1", before_send=function, integrations=integrations)

    options = sentry_sdk.get_client().options
    assert (options["environment"], options["release"]) == ("night", "r1")
    assert options["include_local_variables"] is False
    assert type(options["integrations"][0]).__name__ == "StdlibIntegration"


def test_wrong_settings_are_told_together() -> None:
    """The cluster does not start; no value is shown that may be a secret."""
    with pytest.raises(ConfigError) as caught:
        SentryReporter(dsn="http://secretvalue", colour="red", before_send="no.such.thing")

    text = str(caught.value)
    assert "error_reporter.sentry.dsn: it is not a DSN: " in text
    assert "error_reporter.sentry.colour: the SDK has no such option" in text
    assert "error_reporter.sentry.before_send: got 'no.such.thing'; it cannot be imported: " in text
    assert "secretvalue" not in text


def test_the_programs_own_client_is_used_without_a_dsn(
    started: Callable[..., SentryReporter], sentry: Sentry
) -> None:
    """Even one that is set up later; keys do not leave by it either, and its own function is called first."""
    reporter = started(dsn=None)
    with pytest.raises(ReportLost, match="it has no dsn; set error_reporter"):
        reporter.report(failed(ValueError("no")))

    seen: list[str] = []
    sentry_sdk.init(
        dsn=sentry.dsn, before_send=lambda event, _: (seen.append(event["transaction"]), event)[1]
    )
    reporter.report(failed(ValueError(f"no {KEY}")))
    reporter.flush(30)

    assert seen == ["shop.pay"]
    assert sentry.items("event")[0]["exception"]["values"][0]["value"] == "no ***"
    assert not sentry.canaries()


# -- a service that is away -------------------------------------------------------------------


def test_a_service_that_is_away_is_not_asked_for_a_while(
    started: Callable[..., SentryReporter], sentry: Sentry
) -> None:
    """A report that cannot arrive is not even made: it says why it is lost."""
    reporter = started()
    sentry.close()

    reporter.report(failed(ValueError("no")))
    sentry.until(lambda: reporter._down[0])

    with pytest.raises(ReportLost, match="Sentry cannot be reached"):
        reporter.report(failed(ValueError("no")))


@pytest.mark.parametrize("headers", [{"Retry-After": "60"}, {"X-Sentry-Rate-Limits": "60:error:org"}])
def test_a_rate_limit_is_kept_to(
    started: Callable[..., SentryReporter], sentry: Sentry, headers: dict[str, str]
) -> None:
    """Of 429 and of the header that Sentry sends with it."""
    reporter = started()
    sentry.status, sentry.headers = 429, headers

    reporter.report(failed(ValueError("no")))
    sentry.until(lambda: reporter._down[0] or not sentry_sdk.get_client().transport.is_healthy())  # type: ignore[union-attr]  # it has one

    with pytest.raises(ReportLost, match=r"status_429|takes no more"):
        reporter.report(failed(ValueError("no")))
    assert len(sentry.posted) == 1


def test_a_service_that_hangs_ends_no_flush_late(
    started: Callable[..., SentryReporter], sentry: Sentry
) -> None:
    """A worker is stopped in time; what waits is lost."""
    reporter = started()
    sentry.holds.set()
    reporter.report(failed(ValueError("no")))
    began = time.monotonic()

    reporter.flush(0.2)

    assert time.monotonic() - began < 20


def test_a_worker_that_has_used_nothing_is_not_flushed(
    started: Callable[..., SentryReporter], sentry: Sentry
) -> None:
    """It is replaced every some milliseconds if its tasks are short; one that has used something is."""
    reporter = started(traces_sample_rate=1.0)

    def work(tell: Callable[[str], None]) -> None:
        tell(str(reporter.waits()))
        sentry_sdk.capture_message("used by a task")
        tell(str(reporter.waits()))
        reporter.flush(30)
        tell("flushed")

    with Child(work) as child:
        assert [child.line() for _ in range(3)] == ["False", "True", "flushed"]
    assert [event["message"] for event in sentry.items("event")] == ["used by a task"]
