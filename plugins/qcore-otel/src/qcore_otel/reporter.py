"""Records runs and failures as spans."""

from __future__ import annotations

import logging
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from qcore.errors import ConfigError, ReportLost
from qcore.interfaces import ErrorReporter
from qcore.model import Kind
from qcore_otel import sdk
from qcore_otel.conventions import (
    ERROR_TYPE,
    LINKS,
    NO,
    OUTCOME,
    SCOPE,
    SYSTEM,
    TASK,
    UNSAMPLED,
    describe,
    encodable,
)
from qcore_otel.drawing import Draw
from qcore_otel.links import read_links
from qcore_otel.metrics import ClusterMetrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.hookspecs import ClusterEvent, ExecuteEvent, WorkerEvent
    from qcore.interfaces import ErrorReport
    from qcore.model import TaskInfo

_log = logging.getLogger("qcore.otel")

#: Most characters of a traceback, from its end.
_TEXT: Final = 16_384
#: without a span, whatever is current
_ROOT: Final = Context()
#: id of the task that runs in this context, which has a span unless its trace is not recorded
_TOLD: Final[ContextVar[str]] = ContextVar("qcore_otel_told", default="")
_SPAN: Final[ContextVar[Span]] = ContextVar("qcore_otel_span", default=trace.INVALID_SPAN)


class OtelReporter(ErrorReporter):
    """Reports by the OpenTelemetry SDK: that of the program, or one set up from the environment."""

    def __init__(self, *, metrics: bool = True, **unknown: Any) -> None:
        """Check the settings.

        Args:
            metrics: export how many runs ended and how long they took; without it only traces are sent.
            unknown: what else was set, which is an error.

        Raises:
            ConfigError: a setting is not valid.

        """
        wrong = [
            f"error_reporter.otel.{key}: there is no such setting; only metrics may be set here, the rest by"
            " the variables of the SDK such as OTEL_EXPORTER_OTLP_ENDPOINT"
            for key in unknown
        ]
        if metrics not in {True, False}:
            wrong.append(f"error_reporter.otel.metrics: got {metrics!r}; it must be true or false")
        if wrong:
            raise ConfigError(wrong)
        self._wants_metrics = metrics
        self._exporters: Sequence[sdk.WatchedExporter] = ()
        self._providers: list[Any] = []
        self._counted = 0
        self._metrics: ClusterMetrics | None = None
        #: whether runs may be left out that are not to be recorded: a program's own trace is not ours to end
        self._chooses = False

    def preload(self) -> None:
        """Import the exporters, which import much."""
        sdk.preload(["traces", "metrics"] if self._wants_metrics else ["traces"])

    def start(self) -> None:
        """Set up what the program has not set up, with threads of this process."""
        tracing, self._exporters = sdk.set_up_tracing()
        self._providers = [tracing]
        self._draw = Draw(tracing.get_tracer(SCOPE))
        if self._wants_metrics:
            # Programs of users may have instruments of their own.
            self._providers.append(sdk.set_up_metrics(tracing))
        # What a task starts in a trace that is not recorded is not recorded either.
        ours = SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(TraceFlags.DEFAULT))
        self._unsampled = trace.set_span_in_context(NonRecordingSpan(ours), _ROOT)

    def qcore_worker_start(self, event: WorkerEvent) -> None:  # noqa: ARG002 - the signature of the hook
        """Record nothing in this worker but sampled runs, and what they start."""
        attach(self._unsampled)
        self._chooses = True

    def wants_run(self, headers: Mapping[str, str]) -> bool:
        """Return whether a run may be recorded; nothing else is done for one that is not."""
        if not self._chooses:
            return True
        return headers.get(UNSAMPLED) != NO if headers else self._draw.wins()

    def qcore_pre_execute(self, event: ExecuteEvent) -> None:
        """Begin a span that continues the trace of the producer."""
        task = event.task
        _TOLD.set(task.id)
        # Inside of another task its context is inherited, and that span is not this run's.
        _SPAN.set(trace.INVALID_SPAN)
        if task.headers.get(UNSAMPLED) == NO:
            attach(self._unsampled)
            return
        span, context = self._begin(task, SpanKind.CONSUMER)
        if not span.is_recording():
            # One for all of them costs less than one for each.
            attach(self._unsampled)
            return
        _SPAN.set(span)
        attach(trace.set_span_in_context(span, context))

    def qcore_post_execute(self, event: ExecuteEvent) -> None:
        """End the span of the run."""
        outcome, span = event.outcome, _SPAN.get()
        if outcome is None or span is trace.INVALID_SPAN:
            return
        span.set_attribute(OUTCOME, outcome.kind.value)
        if outcome.kind is not Kind.SUCCESS and outcome.kind is not Kind.SKIPPED:
            error = _type(outcome.error, outcome.kind.value)
            self._fail(span, error, outcome.error, outcome.traceback)
        span.end()

    def qcore_cluster_start(self, event: ClusterEvent) -> None:
        """Begin to export what the workers count; only a supervisor does."""
        if self._wants_metrics and not sdk.is_disabled():
            self._metrics = ClusterMetrics(self.cluster)
            self._providers.append(self._metrics.provider)
            self._metrics.show(event.status)

    def qcore_cluster_status(self, event: ClusterEvent) -> None:
        """Export newer figures."""
        if self._metrics is not None:
            self._metrics.show(event.status)

    def qcore_cluster_stop(self, event: ClusterEvent) -> None:
        """Have the last figures to export when this process flushes."""
        self.qcore_cluster_status(event)

    def report(self, report: ErrorReport) -> None:
        """Record a failure of which no run has told: the worker died, or it belongs to no task.

        Raises:
            ReportLost: spans could not be exported.

        """
        task = report.task
        # What a run has raised is in its span, if it is recorded.
        told = _TOLD.get() == task.id or (self._chooses and report.error is not None)
        if not task.id or not told:
            span, _ = self._begin(task, SpanKind.CONSUMER if task.id else SpanKind.INTERNAL, report.kind)
            span.set_attributes(
                {OUTCOME: report.kind, "qcore.action": report.action, "qcore.worker": report.worker}
            )
            text = report.text or report.summary
            self._fail(span, encodable(report.error_type), report.summary, text)
            span.end()
        self._check()

    def flush(self, seconds: float) -> None:
        """Send what waits; a service that hangs is left behind."""
        end = time.monotonic() + seconds
        threads = [
            threading.Thread(target=_flush, args=(one, seconds), name="qcore-otel-flush", daemon=True)
            for one in self._providers
            if hasattr(one, "force_flush")
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join(max(0.0, end - time.monotonic()))

    def _begin(self, task: TaskInfo, kind: SpanKind, what: str = "process") -> tuple[Span, Context]:
        """Return a new span below that of the producer, which it links to as well, and its context.

        It also links to those of the messages that it follows.
        """
        headers: Mapping[str, str] = task.headers
        context, links = _ROOT, []
        if headers:
            context = propagate.extract(headers, _ROOT)
            producer = trace.get_current_span(context).get_span_context()
            links = [Link(producer)] if producer.is_valid else []
            if (before := headers.get(LINKS)) is not None:
                links += map(Link, read_links(before))
        attributes = describe(task, self.cluster, "process") if task.name else {SYSTEM: "qcore"}
        if task.schedule:
            attributes["qcore.schedule"] = encodable(task.schedule)
        name = f"process {attributes[TASK]}" if task.name else what
        return self._draw.tracer.start_span(name, context, kind, attributes, links), context

    def _fail(self, span: Span, error: str, text: str, traceback: str) -> None:
        said = encodable(self.redact(text))
        span.set_attribute(ERROR_TYPE, error)
        span.set_status(Status(StatusCode.ERROR, said))
        span.add_event(
            "exception",
            {
                "exception.type": error,
                "exception.message": said,
                "exception.stacktrace": encodable(self.redact(traceback))[-_TEXT:],
            },
        )

    def _check(self) -> None:
        lost = sum(one.lost for one in self._exporters)
        new, self._counted = lost - self._counted, lost
        if new or any(one.fails for one in self._exporters):
            msg = f"the OTLP endpoint takes nothing; spans of this process lost so far: {lost}"
            raise ReportLost(msg)


def _flush(provider: Any, seconds: float) -> None:  # noqa: ANN401 - of traces or of metrics
    try:
        provider.force_flush(int(seconds * 1000))
    except Exception as exc:  # noqa: BLE001 - logged; the SDK raises whatever its exporters do
        _log.warning("what waits could not be sent within %.3g s: %s", seconds, exc)


def _type(error: str, kind: str) -> str:
    """Return the class of the exception, or how the run ended."""
    name = error.partition(":")[0]
    return encodable(name) if name.isidentifier() or name.replace(".", "").isidentifier() else kind
