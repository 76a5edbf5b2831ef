"""Clusters that report by OpenTelemetry, from task to protobuf."""

from __future__ import annotations

import importlib.util
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace

from qcore import State
from qcore_otel import sdk

from .conftest import Collector, attributes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qcore import App, Cluster, Job, Result

#: seconds a result is waited for; the machine may be busy
TIMEOUT = 100.0


def ended(job: Job) -> Result:
    """Return the result of a task."""
    result = job.fetch(TIMEOUT)
    assert result is not None
    return result


def test_a_trace_goes_from_the_program_through_the_worker(
    running: Callable[..., tuple[App, Cluster]], collector: Collector
) -> None:
    """A chain stays in it, a crash is in it, a replaced worker was flushed, and no canary leaves."""
    app, cluster = running(recycle=3)
    provider = sdk.set_up_tracing().provider

    with trace.get_tracer("shop").start_as_current_span("checkout"):
        shipped = app.enqueue("traced_tasks.ship", 7)
        paid = app.enqueue("traced_tasks.pay", "canary-card", pin="canary-pin")
        chain = app.chain([app.task("traced_tasks.ship").bind(1), app.task("traced_tasks.ship").bind(2)])
        last = chain.enqueue() if hasattr(chain, "enqueue") else chain
        fallen = app.enqueue("traced_tasks.fall")
    trace_id = ended(shipped).value
    assert ended(paid).state is State.FAILED
    assert ended(fallen).state is State.FAILED
    del last
    collector.until(lambda: len(collector.named("process traced_tasks.ship")) == 3, "the spans of a worker")
    cluster.stop()
    provider.force_flush()

    (checkout,) = collector.named("checkout")
    assert checkout.trace_id.hex() == trace_id
    assert {span.trace_id for span in collector.spans} == {checkout.trace_id}
    producers = {span.span_id for span in collector.spans if span.name.startswith("send ")}
    consumers = [span for span in collector.spans if span.name.startswith("process ")]
    assert len(consumers) == 5
    assert {span.parent_span_id for span in consumers} == producers
    outcomes = sorted(attributes(span)["qcore.outcome"] for span in consumers)
    assert outcomes == ["crash", "failure", "success", "success", "success"]
    assert len(collector.named("select")) == 3
    assert collector.metrics["messaging.process.duration"]
    assert not collector.canaries()


def test_a_replaced_worker_sends_what_it_has_recorded(
    running: Callable[..., tuple[App, Cluster]], collector: Collector
) -> None:
    """Also one that has had no failure to report."""
    app, _ = running(recycle=2)

    for job in [app.enqueue("traced_tasks.drop", number) for number in range(4)]:
        assert ended(job).state is State.SUCCESS

    collector.until(lambda: len(collector.named("process traced_tasks.drop")) == 4, "two workers' spans")


def test_a_worker_that_is_killed_has_sent_what_it_has_recorded(
    running: Callable[..., tuple[App, Cluster]], collector: Collector
) -> None:
    """It is in the supervisor already, which lives on."""
    app, _ = running(workers=1)

    assert ended(app.enqueue("traced_tasks.drop", 1)).state is State.SUCCESS
    assert ended(app.enqueue("traced_tasks.fall")).state is State.FAILED

    collector.until(lambda: bool(collector.named("process traced_tasks.drop")), "the span of a dead worker")
    collector.until(lambda: bool(collector.named("process traced_tasks.fall")), "the span of its death")


def test_spans_that_nobody_takes_are_counted(
    running: Callable[..., tuple[App, Cluster]], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `qcore info` shows lost reports, though no task has failed."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    collector.status = 400
    app, cluster = running(recycle=2)

    for job in [app.enqueue("traced_tasks.drop", number) for number in range(6)]:
        assert ended(job).state is State.SUCCESS

    collector.until(lambda: cluster.status().reports_lost == 6, "six lost spans")


def test_a_cluster_that_is_stopped_exports_its_last_figures(
    running: Callable[..., tuple[App, Cluster]], collector: Collector
) -> None:
    """Also if its supervisor has had no failure to report."""
    app, cluster = running()
    assert ended(app.enqueue("traced_tasks.drop", 1)).state is State.SUCCESS

    cluster.stop()

    assert collector.metrics["messaging.process.duration"][-1].count == 1


#: a module of a program that has its log lines carry trace ids, as the instrumentation's documentation says
LOGGED = """
import logging
from opentelemetry.instrumentation.logging import LoggingInstrumentor

LoggingInstrumentor().instrument(set_logging_format=True)
handler = logging.FileHandler("lines")
handler.setFormatter(logging.Formatter("%(otelTraceID)s %(otelSpanID)s %(message)s"))
logging.getLogger("shop").addHandler(handler)


def pack(number):
    logging.getLogger("shop").warning("packed %d", number)
"""


def test_log_lines_of_a_task_carry_its_trace(
    running: Callable[..., tuple[App, Cluster]],
    collector: Collector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By OpenTelemetry's instrumentation of logging, which reads the current span."""
    if importlib.util.find_spec("opentelemetry.instrumentation") is None and not os.environ.get("CI"):
        pytest.skip("needs opentelemetry-instrumentation-logging: see CONTRIBUTING.md")
    (tmp_path / "logged_tasks.py").write_text(LOGGED)
    monkeypatch.chdir(tmp_path)
    app, cluster = running(preload=["logged_tasks"])

    for number in range(2):
        assert ended(app.enqueue("logged_tasks.pack", number)).state is State.SUCCESS
    cluster.stop()

    spans = collector.named("process logged_tasks.pack")
    lines = (tmp_path / "lines").read_text().splitlines()
    assert lines == [
        f"{span.trace_id.hex()} {span.span_id.hex()} packed {number}" for number, span in enumerate(spans)
    ]
    assert len({span.trace_id for span in spans}) == 2


def linked(span: Any) -> set[bytes]:
    """Return the spans that a span links to."""
    return {link.span_id for link in span.links}


def test_spans_of_a_flow_link_to_what_they_follow(
    running: Callable[..., tuple[App, Cluster]], collector: Collector
) -> None:
    """A chain's link to the link before it, a callback to the members: also without a span around them."""
    app, cluster = running()
    provider = sdk.set_up_tracing().provider
    ship, total = app.task("traced_tasks.ship"), app.task("traced_tasks.total")

    drop_after = app.chain([ship.bind(1), app.task("traced_tasks.drop").bind(2)])
    assert ended(drop_after).state is State.SUCCESS
    assert ended(app.group([ship.bind(3), ship.bind(4)]).then(total)).state is State.SUCCESS
    wanted = ("process traced_tasks.drop", "process traced_tasks.total")
    collector.until(lambda: all(map(collector.named, wanted)), "the spans of a worker")
    cluster.stop()
    provider.force_flush()

    (drop,) = collector.named("send traced_tasks.drop")
    first, *others = [span.span_id for span in collector.named("send traced_tasks.ship")]
    assert linked(drop) == {first}
    (dropped,) = collector.named("process traced_tasks.drop")
    assert linked(dropped) == {first, drop.span_id}
    (totalled,) = collector.named("send traced_tasks.total")
    (summed,) = collector.named("process traced_tasks.total")
    assert linked(totalled) == {*others}
    assert linked(summed) == {*others, totalled.span_id}


def test_an_endpoint_that_hangs_holds_up_one_worker_that_is_replaced(
    running: Callable[..., tuple[App, Cluster]], collector: Collector
) -> None:
    """The others do not wait for it as well: twenty would take forty seconds."""
    collector.holds.set()
    app, _ = running(recycle=1)

    began = time.monotonic()
    jobs = [app.enqueue("traced_tasks.drop", number) for number in range(20)]
    assert {ended(job).state for job in jobs} == {State.SUCCESS}

    assert time.monotonic() - began < 30


def test_an_endpoint_that_hangs_delays_no_task(
    running: Callable[..., tuple[App, Cluster]], collector: Collector
) -> None:
    """Tasks are run, and the cluster stops in time."""
    collector.holds.set()
    app, cluster = running()

    jobs = [app.enqueue("traced_tasks.pay", "card") for _ in range(100)]
    assert {ended(job).state for job in jobs} == {State.FAILED}
    began = time.monotonic()
    cluster.stop()

    assert time.monotonic() - began < 30
