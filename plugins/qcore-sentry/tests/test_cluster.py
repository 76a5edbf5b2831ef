"""Clusters that report to Sentry, from task to envelope."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import sentry_sdk

from qcore import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qcore import App, Cluster, Job

    from .conftest import Sentry

#: seconds a result is waited for; the machine may be busy
TIMEOUT = 100.0


def ended(job: Job) -> State:
    """Return how a task has ended."""
    result = job.fetch(TIMEOUT)
    assert result is not None
    return result.state


def test_a_cluster_sends_failures_traces_and_what_its_supervisor_sees(
    running: Callable[..., tuple[App, Cluster]], sentry: Sentry, tmp_path: Path
) -> None:
    """The trace begins in this program; each failure is one event; no canary is in any payload."""
    app, cluster = running({"traces_sample_rate": 1.0}, timeout=0.5, recycle=3, max_crashes=1)
    sentry_sdk.init(dsn=sentry.dsn, traces_sample_rate=1.0, auto_enabling_integrations=False)

    with sentry_sdk.start_transaction(op="http.server", name="checkout") as transaction:
        shipped = app.enqueue("sentry_tasks.ship", 7)
        paid = app.enqueue("sentry_tasks.pay", "canary-card", pin="canary-pin")
    assert (ended(shipped), ended(paid)) == (State.SUCCESS, State.FAILED)
    # After three tasks the worker is replaced, and flushed before.
    assert ended(app.enqueue("sentry_tasks.quarrel")) == State.FAILED
    sentry.until(lambda: len(sentry.items("event")) == 2, "events of the replaced worker")
    hung = app.enqueue("sentry_tasks.hang", str(tmp_path / "hangs"))
    assert ended(hung) == State.FAILED
    assert ended(app.enqueue("sentry_tasks.missing")) == State.FAILED
    # A worker that dies takes along what it has not sent.
    sentry.until(lambda: len(sentry.items("event")) == 4, "the event of a task that is not there")
    assert ended(app.enqueue("sentry_tasks.fall")) == State.FAILED
    app.schedules.create("sentry_tasks.gone", name="nightly", minutes=1)
    sentry.until(lambda: len(sentry.items("event")) == 7, "what became of the schedule and of its task")
    cluster.stop()
    sentry_sdk.flush(30)

    events = {event.get("transaction", ""): event for event in sentry.items("event")}
    assert len(sentry.items("event")) == 7
    pay = events["sentry_tasks.pay"]
    assert pay["exception"]["values"][0]["type"] == "ValueError"
    assert [one["message"] for one in pay["breadcrumbs"]["values"]] == ["about to pay"]
    assert (pay["tags"]["shop"], pay["tags"]["qcore.action"]) == ("main", "dead_letter")
    assert pay["contexts"]["trace"]["trace_id"] == transaction.trace_id
    frames = events["sentry_tasks.hang"]["exception"]["values"][0]["stacktrace"]["frames"]
    assert frames[-1]["function"] == "hang"
    assert events["sentry_tasks.missing"]["exception"]["values"][0]["type"] == "TaskNotFound"
    assert events["sentry_tasks.fall"]["exception"]["values"][0]["type"] == "WorkerDied"
    tags = [event.get("tags", {}) for event in sentry.items("event")]
    of_schedule = [one["qcore.kind"] for one in tags if one.get("qcore.schedule") == "nightly"]
    assert sorted(of_schedule) == ["failure", "schedule"]
    runs = {one["transaction"]: one for one in sentry.items("transaction")}
    ship = runs["sentry_tasks.ship"]
    assert [span["op"] for span in ship["spans"]] == ["queue.process", "db"]
    assert ship["contexts"]["trace"]["trace_id"] == transaction.trace_id
    assert [span["op"] for span in runs["checkout"]["spans"]] == ["queue.publish"] * 2
    assert not sentry.canaries()


@pytest.mark.parametrize("at_once", [{}, {"threads": 3, "coroutines": 3}], ids=["in a row", "at once"])
def test_each_run_has_scopes_of_its_own(
    running: Callable[..., tuple[App, Cluster]], sentry: Sentry, at_once: dict[str, int]
) -> None:
    """Breadcrumbs and tags are those of the run, also of coroutines it starts; a run without has none."""
    app, cluster = running({}, workers=1, **at_once)

    tasks = ("mark", "mark_inside", "quiet")
    jobs = [app.enqueue(f"sentry_tasks.{task}", number) for number in range(6) for task in tasks[:2]]
    jobs += [app.enqueue("sentry_tasks.quiet") for _ in range(2)]
    assert {ended(job) for job in jobs} == {State.FAILED}
    cluster.stop()

    events = sentry.items("event")
    assert sorted(event["transaction"] for event in events) == sorted(
        [*["sentry_tasks.mark", "sentry_tasks.mark_inside"] * 6, *["sentry_tasks.quiet"] * 2]
    )
    for event in events:
        crumbs = [crumb["message"] for crumb in event.get("breadcrumbs", {}).get("values", ())]
        error = event["exception"]["values"][-1]["value"]
        number = error.partition("marked ")[2]
        assert crumbs == ([f"crumb {number}"] if number else []), event["transaction"]
        assert event["tags"].get("number", "") == number


#: what a supervisor imports, because it has the class of the broker; a job of it fails from then on
BROKEN = """
from qcore.supervision.control_poll import ControlPoller
from qcore_sqlite.broker import SqliteBroker as Broker


def poll(self, coordination):
    raise RuntimeError("no order is read")


ControlPoller.poll = poll
"""


def test_an_error_of_the_supervisor_is_an_event(
    running: Callable[..., tuple[App, Cluster]], sentry: Sentry, tmp_path: Path
) -> None:
    """With its stack, and of no task; the supervisor goes on."""
    (tmp_path / "broken_supervisor.py").write_text(BROKEN)
    path = {"path": str(tmp_path / "queue.db")}
    app, cluster = running({}, broker_class="broken_supervisor.Broker", sqlite=path)

    sentry.until(lambda: sentry.items("event"), "an event of the supervisor")
    assert ended(app.enqueue("sentry_tasks.ship", 1)) == State.SUCCESS
    cluster.stop()

    (event,) = sentry.items("event")
    (error,) = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("RuntimeError", "no order is read")
    assert error["stacktrace"]["frames"][-1]["function"] == "poll"
    assert (event["tags"]["qcore.kind"], "qcore.task" in event["tags"]) == ("supervisor", False)


def test_schedules_check_in(running: Callable[..., tuple[App, Cluster]], sentry: Sentry) -> None:
    """The supervisor that fires them knows their rules, and the worker says how they end."""
    app, _ = running({"check_ins": True})

    app.schedules.create("sentry_tasks.ship", 1, name="hour", type="hourly")

    begun, done = sentry.until(lambda: (found := sentry.items("check_in")) and len(found) > 1 and found[:2])
    assert (begun["monitor_slug"], begun["status"], done["status"]) == ("hour", "in_progress", "ok")
    interval = {"type": "interval", "value": 1, "unit": "hour"}
    assert begun["monitor_config"] == {"schedule": interval, "timezone": "UTC"}


def test_a_service_that_hangs_delays_no_task(
    running: Callable[..., tuple[App, Cluster]], sentry: Sentry
) -> None:
    """Tasks are run and lost reports are counted; the cluster stops in time."""
    sentry.holds.set()
    app, cluster = running({})

    jobs = [app.enqueue("sentry_tasks.pay", "card") for _ in range(300)]
    assert {ended(job) for job in jobs} == {State.FAILED}
    status: Any = sentry.until(lambda: (found := cluster.status()).reports_lost and found)
    began = time.monotonic()
    cluster.stop()

    assert status.reports + status.reports_lost >= 300
    assert time.monotonic() - began < 30
