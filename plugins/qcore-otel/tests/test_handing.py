"""Spans that a worker has the supervisor export."""

from __future__ import annotations

import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SpanOfTheSdk
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from qcore.hookspecs import WorkerEvent
from qcore.model import Kind, TaskInfo
from qcore_otel import OtelReporter
from qcore_otel.wire import Reader, Writer

from .test_reporter import TASK, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Collector

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Handed:
    """A reporter as it is in a worker, and the spans that it has handed on."""

    def __init__(self) -> None:
        self.reporter = OtelReporter()
        self.reporter.cluster = "shop"
        self.spans: list[ReadableSpan] = []
        self.lost: list[tuple[str, int]] = []
        self.is_full = False
        self.reporter.hand_on = self._take
        self.reporter.lose = lambda why, count: self.lost.append((why, count))
        self.reporter.preload()
        self.reporter.start()
        self._context = copy_context()
        event = WorkerEvent(slot=0, pid=1, cluster="shop")
        self._context.run(self.reporter.qcore_worker_start, event)

    def run(self, task: TaskInfo = TASK, **kwargs: Any) -> ReadableSpan:
        """Run a task; return the span that was handed on last."""
        assert self.reporter.wants_run(task.headers)
        self._context.run(run, self.reporter, task, **kwargs)
        return self.spans[-1]

    def _take(self, data: bytes) -> bool:
        if not self.is_full:
            self.spans.append(Reader().read(data))
        return not self.is_full


@pytest.fixture(params=["parentbased_traceidratio", "parentbased_always_on"])
def handed(request: pytest.FixtureRequest, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Handed:
    """Return a reporter that records all runs: by a ratio, which needs nothing of the SDK, and by the SDK."""
    del collector
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", request.param)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1.0")
    return Handed()


def shown(span: ReadableSpan) -> dict[str, Any]:
    """Return all that an exporter may ask of a span."""
    names = (
        "name",
        "kind",
        "parent",
        "start_time",
        "end_time",
        "attributes",
        "resource",
        "instrumentation_scope",
    )
    found = {name: getattr(span, name) for name in names}
    found["attributes"] = dict(span.attributes or {})
    found["context"] = span.get_span_context()
    found["status"] = (span.status.status_code, span.status.description)
    found["events"] = [
        (one.name, one.timestamp, dict(one.attributes or {}), one.dropped_attributes) for one in span.events
    ]
    found["links"] = [(one.context, dict(one.attributes or {}), one.dropped_attributes) for one in span.links]
    found["dropped"] = (span.dropped_attributes, span.dropped_events, span.dropped_links)
    return found


def test_a_span_is_read_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that it may have, and how much of it was dropped."""
    for name in ("SPAN_ATTRIBUTE", "SPAN_EVENT", "SPAN_LINK", "EVENT_ATTRIBUTE", "LINK_ATTRIBUTE"):
        monkeypatch.setenv(f"OTEL_{name}_COUNT_LIMIT", "5")
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    other = SpanContext(1 << 127, (1 << 64) - 1, True, TraceFlags(1), TraceState([("a", "1"), ("b", "2")]))
    values: dict[str, Any] = {
        "text": "\U0001f980",
        "number": -1,
        "half": 0.5,
        "yes": True,
        "many": ("a", "b"),
    }
    more = {str(number): number for number in range(7)}
    tracer = provider.get_tracer("shop", "1.0", "https://schema", {"of": "scope"})

    span = tracer.start_span(
        "all",
        trace.set_span_in_context(trace.NonRecordingSpan(other)),
        SpanKind.SERVER,
        values,
        [Link(other, more)],
    )
    for number in range(7):
        span.add_event(f"event {number}", more, 1000 + number)
    span.set_status(Status(StatusCode.ERROR, "no"))
    span.end()
    tracer.start_span("none").end()
    dropping = tracer.start_span("dropping", attributes=more, links=[Link(other)] * 7)
    dropping.end()

    writer, reader = Writer(), Reader()
    spans = kept.get_finished_spans()
    assert len(spans) == 3
    for one in spans:
        assert shown(reader.read(writer.write(one))) == shown(one)
    assert spans[0].dropped_events == 2


def test_what_a_worker_hands_on_is_what_the_sdk_makes(
    handed: Handed, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a run's span is one of the SDK's or not; only times and ids of spans differ."""
    task = TaskInfo(
        id="ab" * 16, name="shop.pay", attempt=2, headers={"traceparent": PARENT}, schedule="nightly"
    )

    quiet = shown(handed.run(task=task))
    touched = shown(handed.run(task=task, work=lambda: trace.get_current_span().set_attribute("seen", True)))

    assert touched["attributes"].pop("seen") is True
    for name in ("start_time", "end_time", "context"):
        first, second = quiet.pop(name), touched.pop(name)
        if name == "context":
            assert first.trace_id == second.trace_id == int(PARENT[3:35], 16)
            assert first.trace_flags == second.trace_flags
    assert quiet == touched
    assert quiet["parent"].is_remote
    assert len(quiet["links"]) == 1


def test_the_ids_of_a_run_stay_the_same(handed: Handed) -> None:
    """What a task was told of its span is so, whatever it does with it later."""
    told: list[SpanContext] = []

    def work() -> None:
        span = trace.get_current_span()
        told.append(span.get_span_context())
        assert isinstance(span, SpanOfTheSdk)
        assert span.is_recording()
        with trace.get_tracer("shop").start_as_current_span("inner"):
            pass
        told.append(span.get_span_context())
        assert span.name == "process shop.pay"  # type: ignore[attr-defined]  # of the SDK's
        span.update_name("paid")
        told.append(span.get_span_context())

    span = handed.run(work=work)
    inner, last = handed.spans

    assert last is span
    assert span.name == "paid"
    assert told == [span.get_span_context()] * 3
    assert span.get_span_context().trace_id == inner.get_span_context().trace_id  # type: ignore[union-attr]  # it has one
    assert inner.parent == span.get_span_context()


def test_all_that_a_task_tells_of_its_span_is_kept(handed: Handed) -> None:
    """By each method that a span has."""

    def work() -> None:
        span = trace.get_current_span()
        span.set_attributes({"a": 1})
        span.add_event("event", {"b": 2})
        span.add_link(SpanContext(1, 2, is_remote=True))
        span.record_exception(ValueError("no"))
        span.set_status(StatusCode.OK)

    span = handed.run(work=work)

    assert dict(span.attributes or {})["a"] == 1
    assert [one.name for one in span.events] == ["event", "exception"]
    assert [one.context.span_id for one in span.links] == [2]
    assert span.status.status_code is StatusCode.OK


def test_a_span_that_a_task_ends_is_ended_once(handed: Handed) -> None:
    """Also as a context, and what its task says of it afterwards is for nobody."""
    kept: list[trace.Span] = []

    def work() -> None:
        with trace.get_current_span() as span:
            kept.append(span)

    handed.run(work=work)
    assert len(handed.spans) == 1
    assert not kept[0].is_recording()

    handed.run(work=lambda: kept.append(trace.get_current_span()))
    kept[1].set_attribute("too", "late")
    kept[1].end()

    assert len(handed.spans) == 2


def test_a_failure_is_handed_on(handed: Handed) -> None:
    """With its event."""
    span = handed.run(kind=Kind.FAILURE, error="ValueError: no")

    assert span.status.status_code is StatusCode.ERROR
    assert [one.name for one in span.events] == ["exception"]
    assert not handed.reporter.waits()


def test_many_spans_are_handed_on_as_few_are(handed: Handed) -> None:
    """As long as the supervisor takes them, there is no thread."""
    threads = threading.active_count()
    for _ in range(2000):
        handed.run()

    assert len(handed.spans) == 2000
    assert threading.active_count() == threads
    assert not handed.reporter.waits()


def test_a_worker_whose_supervisor_takes_no_more_exports_itself(handed: Handed, collector: Collector) -> None:
    """In a thread; nothing is lost or sent twice, and nobody waits."""
    handed.run()
    handed.is_full = True
    handed.run()
    handed.is_full = False
    for _ in range(100):
        handed.run()
    assert handed.reporter.waits()

    handed.reporter.flush(30)

    assert (len(handed.spans), len(collector.named("process shop.pay"))) == (1, 101)
    assert not handed.lost


def test_a_span_that_cannot_be_written_is_exported_here(handed: Handed, collector: Collector) -> None:
    """A number of more than 64 bits, which an exporter may make something of."""
    del collector
    threads = threading.active_count()

    handed.run()
    handed.run(work=lambda: trace.get_current_span().set_attribute("large", 1 << 70))

    assert len(handed.spans) == 1
    assert threading.active_count() == threads + 1
    handed.reporter.flush(30)


def test_a_processor_of_the_programs_sees_each_span(handed: Handed) -> None:
    """From its start on, as it does of the SDK's."""

    class Watching(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            seen.append(span.name)

    seen: list[str] = []
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    provider.add_span_processor(Watching())

    handed.run()

    assert seen == ["process shop.pay"]
    assert handed.reporter.waits()


@pytest.mark.parametrize("variable", ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"])
def test_limits_of_the_sdk_are_kept(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """They are for the spans of runs as well."""
    del collector
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1.0")
    monkeypatch.setenv(variable, "3")

    attributes = dict(Handed().run().attributes or {})

    assert len(attributes) == 3 or attributes["qcore.task.name"] == "sho"


def test_a_parent_that_is_not_followed_is_not_sampled(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sampler that asks nobody decides by the id of the trace."""
    del collector
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.0001")
    handed = Handed()
    large = PARENT.replace("8448eb211c80319c", "f448eb211c80319c")

    task = TaskInfo(id="ab" * 16, name="shop.pay", attempt=1, headers={"traceparent": large})
    with pytest.raises(IndexError):
        handed.run(task)


def test_what_is_received_is_exported(
    started: Callable[..., OtelReporter], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the supervisor, under the resource of the worker."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "rack=left")
    provider = TracerProvider(shutdown_on_exit=False)
    kept = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for scope in ("shop", "stock"):
        provider.get_tracer(scope).start_span(f"of {scope}").end()
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "rack=right")
    supervisor = started()

    for one in kept.get_finished_spans():
        supervisor.receive(Writer().write(one))
    supervisor.flush(30)

    assert sorted(span.name for span in collector.spans) == ["of shop", "of stock"]
    assert collector.resources("rack") == {"left"}
