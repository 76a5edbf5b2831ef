"""What a collector gets of a run and of a failure."""

from __future__ import annotations

import os
import random
import time
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)

from qcore.errors import ConfigError, ReportLost
from qcore.hookspecs import ClusterEvent, EnqueueEvent, ExecuteEvent, WorkerEvent
from qcore.interfaces import ErrorReport
from qcore.model import Kind, Outcome, TaskInfo
from qcore.status import TIME_BOUNDS, ClusterStatus, Counts, TaskCounts
from qcore_calendar.schedule import Schedule
from qcore_otel import OtelReporter, plugin, producer
from qcore_otel.conventions import describe

from .conftest import KEY, Collector, attributes

if TYPE_CHECKING:
    from collections.abc import Callable

TASK = TaskInfo(id="ab" * 16, name="shop.pay", args=("canary-argument",), attempt=2, group="g")
FAILED = f"ValueError: no {KEY}"


def run(
    reporter: OtelReporter,
    task: TaskInfo = TASK,
    kind: Kind = Kind.SUCCESS,
    error: str = "",
    work: Callable[[], object] = lambda: None,
) -> Context:
    """Run a task as a worker does, in a context of its own."""
    context = copy_context()
    context.run(reporter.qcore_pre_execute, ExecuteEvent(task=task))
    began = time.time()
    context.run(work)
    outcome = Outcome(
        kind, error=error, traceback=f"Traceback ...\n{error}", started=began, finished=began + 0.25
    )
    context.run(reporter.qcore_post_execute, ExecuteEvent(task=task, outcome=outcome))
    return context


def sent(task: TaskInfo = TASK, schedule: Schedule | None = None) -> TaskInfo:
    """Enqueue a task; return it as its worker gets it."""
    event = EnqueueEvent(task=task, headers={}, cluster="shop", schedule=schedule)
    plugin.qcore_pre_enqueue(event)
    return TaskInfo(
        id=task.id, name=task.name, attempt=1, headers=event.headers, schedule=schedule and schedule.name
    )


def crash(task: TaskInfo = TASK, **fields: Any) -> ErrorReport:
    """Return the report of a run whose worker died."""
    given = {"kind": "crash", "summary": "WorkerDied: by a signal", "text": "by a signal", "action": "retry"}
    return ErrorReport(task=task, cluster="shop", **{**given, **fields})


def test_a_run_is_a_span_by_the_conventions(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """With the resource of the environment, and the program's own spans below it."""
    reporter = started()

    def work() -> None:
        trace.get_tracer("shop").start_span("select").end()

    run(reporter, work=work)
    reporter.flush(30)

    (span,) = collector.named("process shop.pay")
    assert span.kind == Span.SPAN_KIND_CONSUMER
    assert attributes(span) == {
        "messaging.system": "qcore",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "shop",
        "messaging.message.id": TASK.id,
        "qcore.task.name": "shop.pay",
        "qcore.attempt": 2,
        "qcore.group": "g",
        "qcore.outcome": "success",
    }
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert collector.named("select")[0].parent_span_id == span.span_id
    assert collector.services == {"shop-workers"}
    assert not collector.canaries()


def test_a_failure_is_an_event_of_its_span(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """The status is an error; the report that follows makes no second span; keys are hidden."""
    reporter = started()

    context = run(reporter, kind=Kind.FAILURE, error=FAILED)
    context.run(reporter.report, crash(kind="failure", summary=FAILED, text=FAILED))
    reporter.flush(30)

    (span,) = collector.spans
    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "ValueError: no ***")
    (event,) = span.events
    assert event.name == "exception"
    assert attributes(event) == {
        "exception.type": "ValueError",
        "exception.message": "ValueError: no ***",
        "exception.stacktrace": "Traceback ...\nValueError: no ***",
    }
    assert attributes(span)["error.type"] == "ValueError"
    assert not collector.canaries()


def test_a_crash_is_a_span_of_its_own_in_the_same_trace(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """The worker could not end its span, so the supervisor says what became of the run."""
    reporter = started()
    task = sent()

    reporter.report(crash(task))
    reporter.flush(30)

    (producer,), (span,) = collector.named("send shop.pay"), collector.named("process shop.pay")
    assert (span.trace_id, span.parent_span_id) == (producer.trace_id, producer.span_id)
    assert span.status.message == "WorkerDied: by a signal"
    assert attributes(span)["qcore.outcome"] == "crash"
    assert attributes(span)["qcore.action"] == "retry"


def test_a_worker_goes_on_with_the_trace_of_the_producer(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """By the headers of the W3C; the consumer links to the producer, too."""
    reporter = started()
    with trace.get_tracer("shop").start_as_current_span("checkout"):
        task = sent()

    run(reporter, task)
    reporter.flush(30)

    (checkout,), (producer,) = collector.named("checkout"), collector.named("send shop.pay")
    (consumer,) = collector.named("process shop.pay")
    assert producer.kind == Span.SPAN_KIND_PRODUCER
    assert producer.parent_span_id == checkout.span_id
    assert consumer.parent_span_id == producer.span_id
    assert [link.span_id for link in consumer.links] == [producer.span_id]
    assert {one.trace_id for one in collector.spans} == {checkout.trace_id}
    assert set(task.headers) == {"traceparent"}


def test_a_schedule_is_named(started: Callable[..., OtelReporter], collector: Collector) -> None:
    """In both spans."""
    reporter = started()
    schedule = Schedule(name="nightly", task="shop.pay", rule="daily", next_run=0.0)

    run(reporter, sent(schedule=schedule))
    reporter.flush(30)

    assert [attributes(span)["qcore.schedule"] for span in collector.spans] == ["nightly"] * 2


def test_a_slot_of_a_schedule_links_to_the_one_before(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """Each begins a trace of its own, and so a span link is what connects them."""
    reporter = started()
    schedule = Schedule(name="hourly", task="shop.pay", rule="hourly", next_run=0.0)

    for _ in range(2):
        run(reporter, sent(schedule=schedule))
    reporter.flush(30)

    first, second = collector.named("send shop.pay")
    _, run_of_second = collector.named("process shop.pay")
    assert (len(first.links), [link.span_id for link in second.links]) == (0, [first.span_id])
    assert {link.span_id for link in run_of_second.links} == {first.span_id, second.span_id}
    assert first.trace_id != second.trace_id


def test_a_trace_that_is_not_sampled_costs_no_header_of_its_own(
    started: Callable[..., OtelReporter], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All such messages have the same, so their worker plans them once; what they start is not sampled."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    reporter = started()
    first, second = sent(), sent()
    seen: list[bool] = []

    def work() -> None:
        with trace.get_tracer("shop").start_as_current_span("select") as span:
            seen.append(span.is_recording())
            assert sent().headers == first.headers

    run(reporter, first, kind=Kind.FAILURE, error=FAILED, work=work)
    reporter.flush(30)

    assert first.headers == second.headers == {"otel-sampled": "0"}
    assert seen == [False]
    assert collector.spans == []


def test_a_task_that_runs_inside_of_another_leaves_its_span_alone(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """With `sync` a task runs another in its own context, which may not be sampled."""
    reporter = started()
    inner = TaskInfo(id="cd" * 16, name="shop.ship", attempt=1, headers={"otel-sampled": "0"})

    def work() -> None:
        run(reporter, inner, kind=Kind.FAILURE, error=FAILED)
        assert trace.get_current_span().is_recording()

    run(reporter, work=work)
    reporter.flush(30)

    (span,) = collector.spans
    assert (span.name, attributes(span)["qcore.outcome"]) == ("process shop.pay", "success")
    assert span.status.code == Status.STATUS_CODE_UNSET


def test_without_the_sdk_a_message_stays_as_it_is(collector: Collector) -> None:
    """Importing the API alone sets up nothing."""
    del collector

    assert sent().headers == {}


def watched(reporter: OtelReporter, **tasks: TaskCounts) -> None:
    """Show a reporter what a cluster has counted."""
    status = ClusterStatus(
        id="1", name="shop", label="", host="a", pid=1, state="working", counts=Counts(tasks=tasks)
    )
    event = ClusterEvent(status=status, config=None)
    if reporter._metrics is None:
        reporter.qcore_cluster_start(event)
    reporter.qcore_cluster_status(event)


COUNTED = TaskCounts(
    runs={"success": 4, "timeout": 1},
    seconds=7.0,
    failed_seconds=5.0,
    success_times=(3, 0, 1),
    failed_times=(*[0] * 13, 1),
)


def test_durations_are_a_histogram_of_the_cluster(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """By task and whether runs failed, as the workers have counted them; a run records nothing itself."""
    reporter = started()
    run(reporter)
    watched(reporter, pay=COUNTED)
    reporter.flush(30)

    fine, failed = collector.metrics["messaging.process.duration"]
    assert attributes(fine) == {
        "messaging.system": "qcore",
        "messaging.operation.name": "process",
        "messaging.destination.name": "shop",
        "qcore.task.name": "pay",
    }
    assert (fine.count, fine.sum, list(fine.bucket_counts)) == (4, 2.0, [3, 0, 1, *[0] * 21])
    assert list(fine.explicit_bounds) == list(TIME_BOUNDS)
    assert attributes(failed)["error.type"] == "_OTHER"
    assert (failed.count, failed.sum, failed.bucket_counts[13]) == (1, 5.0, 1)
    consumed = collector.metrics["messaging.client.consumed.messages"]
    found = {attributes(one).get("error.type"): one.as_int for one in consumed}
    assert found == {None: 4, "timeout": 1}


def test_metrics_name_the_queue_as_spans_do(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """One series for each destination of a task."""
    reporter = started()
    watched(reporter, pay=COUNTED.plus(attrs.evolve(COUNTED, queues={"mail": COUNTED})))
    reporter.flush(30)

    for metric in ("messaging.process.duration", "messaging.client.consumed.messages"):
        found = [attributes(one) for one in collector.metrics[metric]]
        assert [one["messaging.destination.name"] for one in found] == ["shop"] * 2 + ["shop/mail"] * 2
    span = describe(TaskInfo(id="1", name="pay", queue="mail"), "shop", "process")
    assert span["messaging.destination.name"] == "shop/mail"


def test_sent_messages_are_counted_where_they_are_enqueued(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """By the SDK of that program."""
    reporter = started()
    sent()
    reporter.flush(30)

    (point,) = collector.metrics["messaging.client.sent.messages"]
    assert point.as_int == 1


def test_a_service_that_wants_differences_gets_them(
    started: Callable[..., OtelReporter], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the variable of the SDK says; what has not changed is not sent again."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    reporter = started()
    watched(reporter, pay=COUNTED)
    reporter.flush(30)
    watched(reporter, pay=COUNTED.plus(TaskCounts(runs={"success": 2}, seconds=0.5, success_times=(2,))))
    reporter.flush(30)

    *_, last = collector.metrics["messaging.process.duration"]
    assert (last.count, last.sum, last.bucket_counts[0]) == (2, 0.5, 2)
    assert len(collector.metrics["messaging.process.duration"]) == 3


# -- which runs are recorded ------------------------------------------------------------------


def in_a_worker(reporter: OtelReporter) -> Context:
    """Return the context of a worker that has started."""
    context = copy_context()
    context.run(reporter.qcore_worker_start, WorkerEvent(slot=0, pid=1, cluster="shop"))
    return context


def sampled(monkeypatch: pytest.MonkeyPatch, part: float) -> None:
    """Have the SDK sample a part of all traces."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", str(part))


def test_a_worker_records_the_part_that_the_sampler_says(
    started: Callable[..., OtelReporter], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It decides before anything is made; the sampler agrees with each decision."""
    sampled(monkeypatch, 0.05)
    monkeypatch.setattr(random, "random", random.Random(7).random)
    reporter = started(metrics=False)
    worker = in_a_worker(reporter)

    wanted = 0
    for _ in range(4000):
        if reporter.wants_run({}):
            wanted += 1
            worker.run(run, reporter)
    reporter.flush(30)

    assert 100 < wanted < 320
    assert len(collector.named("process shop.pay")) == wanted
    assert len({span.trace_id for span in collector.spans}) == wanted


@pytest.mark.parametrize(("part", "wanted"), [(0.0, 0), (1.0, 50)])
def test_none_and_all_are_parts_too(
    started: Callable[..., OtelReporter], monkeypatch: pytest.MonkeyPatch, part: float, wanted: int
) -> None:
    """Neither is a matter of luck."""
    sampled(monkeypatch, part)
    reporter = started(metrics=False)
    in_a_worker(reporter)

    assert sum(reporter.wants_run({}) for _ in range(50)) == wanted


def test_a_message_whose_trace_is_not_sampled_is_left_out(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """Its failure is recorded by no span either, and what it starts is not recorded."""
    reporter = started(metrics=False)
    worker = in_a_worker(reporter)

    assert not reporter.wants_run({"otel-sampled": "0"})
    assert reporter.wants_run({"traceparent": f"00-{1:032x}-{2:016x}-01"})
    worker.run(trace.get_tracer("shop").start_span, "select")
    worker.run(reporter.report, crash(kind="failure", summary=FAILED, error=ValueError("no")))
    reporter.flush(30)

    assert collector.spans == []


def test_a_producer_records_the_part_that_the_sampler_says(
    started: Callable[..., OtelReporter], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It decides before anything is made; below a span it does what that one's trace does."""
    sampled(monkeypatch, 0.05)
    monkeypatch.setattr(random, "random", random.Random(7).random)
    reporter = started(metrics=False)

    headers = [sent().headers for _ in range(2000)]
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False))):
        assert sent().headers == {"otel-sampled": "0"}
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(3, 4, False, flags))):
        assert sent().headers["traceparent"].startswith(f"00-{3:032x}-")
    reporter.flush(30)

    recorded = [one for one in headers if one != {"otel-sampled": "0"}]
    assert 50 < len(recorded) < 160
    assert len(collector.named("send shop.pay")) == len(recorded) + 1
    assert len({one["traceparent"] for one in recorded}) == len(recorded)
    assert len({span.trace_id for span in collector.spans}) == len(recorded) + 1


def test_a_producer_asks_a_sampler_that_decides_by_the_name(collector: Collector) -> None:
    """With the name and the attributes of each span."""
    del collector
    asked = []

    class ByName(Sampler):
        def should_sample(self, context: Any, trace_id: int, name: str, *rest: Any, **more: Any) -> Any:
            del context, trace_id, more
            asked.append((name, rest[1]["messaging.destination.name"]))
            return SamplingResult(Decision.DROP)

        def get_description(self) -> str:
            return "ByName"

    trace.set_tracer_provider(TracerProvider(sampler=ByName()))

    assert sent().headers == sent().headers == {"otel-sampled": "0"}
    assert asked == [("send shop.pay", "shop")] * 2


def test_a_forked_process_counts_only_what_it_enqueues(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """What was counted before is told by the process that it was forked from."""
    reporter = started()
    sent()
    if not (child := os.fork()):
        producer._INSTRUMENTS.sent.count("shop", "shop.pay")
        os._exit(producer._INSTRUMENTS.sent._counts["shop", "shop.pay"])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    sent()
    reporter.flush(30)

    (point,) = collector.metrics["messaging.client.sent.messages"]
    assert point.as_int == 2


def test_a_sampler_that_decides_by_the_name_is_asked_each_time(
    started: Callable[..., OtelReporter],
) -> None:
    """Only the SDK's own samplers are known."""

    class ByName(TraceIdRatioBased):
        def should_sample(self, *args: Any, **kwargs: Any) -> Any:
            return super().should_sample(*args, **kwargs)

    trace.set_tracer_provider(TracerProvider(sampler=ParentBased(ByName(0.0))))
    reporter = started(metrics=False)
    in_a_worker(reporter)

    assert reporter.wants_run({})


def test_a_program_of_users_keeps_its_own_trace(started: Callable[..., OtelReporter]) -> None:
    """Where no worker is, with `sync`, each run is recorded and the current span is theirs."""
    reporter = started(metrics=False)

    assert reporter.wants_run({"otel-sampled": "0"})
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_metrics_can_be_left_out(started: Callable[..., OtelReporter], collector: Collector) -> None:
    """Then only traces are sent."""
    reporter = started(metrics=False)
    run(reporter)
    reporter.flush(30)

    assert len(collector.spans) == 1
    assert collector.metrics == {}


def test_the_programs_own_provider_is_used(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """Nothing is set up twice."""
    exporter = InMemorySpanExporter()
    own = TracerProvider()
    own.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(own)

    reporter = started(metrics=False)
    run(reporter)
    reporter.flush(30)

    assert [span.name for span in exporter.get_finished_spans()] == ["process shop.pay"]
    assert collector.spans == []


def test_a_disabled_sdk_does_nothing(
    started: Callable[..., OtelReporter], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs go on."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    reporter = started()
    run(reporter, sent(), kind=Kind.FAILURE, error=FAILED)
    reporter.report(crash())
    reporter.flush(1)

    assert collector.posted == []


def test_wrong_settings_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster does not start."""
    with pytest.raises(ConfigError) as caught:
        OtelReporter(metrics="often", endpoint="x")  # type: ignore[arg-type]  # that is what is wrong

    assert "error_reporter.otel.endpoint: there is no such setting" in str(caught.value)
    assert "error_reporter.otel.metrics: got 'often'; it must be true or false" in str(caught.value)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    with pytest.raises(ConfigError, match="no exporter 'carrier-pigeon' is installed"):
        OtelReporter().preload()


# -- a service that is away -------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 400, 429], ids=["dead", "refusing", "limiting"])
def test_an_endpoint_that_takes_nothing_is_told_of(
    started: Callable[..., OtelReporter], collector: Collector, status: int
) -> None:
    """Each span that is lost is counted, and the next report is lost before one is made of it."""
    lost: list[tuple[str, int]] = []
    reporter = started(metrics=False, lost=lost)
    if status:
        collector.status = status
    else:
        collector.close()

    run(reporter)
    reporter.flush(30)

    assert lost == [("the OTLP endpoint takes nothing", 1)]
    with pytest.raises(ReportLost, match="the OTLP endpoint takes nothing"):
        reporter.report(crash())
    reporter.flush(30)
    assert len(lost) == 1


def test_an_endpoint_that_hangs_ends_no_flush_late(
    started: Callable[..., OtelReporter], collector: Collector
) -> None:
    """A worker is stopped in time; what waits is lost, and counted."""
    lost: list[tuple[str, int]] = []
    reporter = started(lost=lost)
    collector.holds.set()
    for _ in range(3):
        run(reporter)
    began = time.monotonic()

    reporter.flush(0.2)

    assert time.monotonic() - began < 20
    assert lost == [("the process ended before its spans were sent", 3)]
