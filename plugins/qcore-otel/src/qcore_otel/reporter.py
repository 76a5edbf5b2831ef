"""Records runs and failures as spans."""

from __future__ import annotations

import logging
import threading
import time
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
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
from qcore.hookspecs import ExecuteEvent
from qcore.interfaces import ErrorReporter
from qcore.model import Kind, Outcome, TaskInfo
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
from qcore_otel.prepared import PREPARED
from qcore_otel.runs import Run, Runs
from qcore_otel.wire import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qcore.hookspecs import ClusterEvent, WorkerEvent
    from qcore.interfaces import ErrorReport

_log = logging.getLogger("qcore.otel")

#: Most characters of a traceback, from its end.
_TEXT: Final = 16_384
#: Python adapts what it has run so often.
_REHEARSALS: Final = 20
#: without a span, whatever is current
_ROOT: Final = Context()
#: with a span that is not recorded: what a task starts in such a trace is not recorded either
_UNSAMPLED: Final = trace.set_span_in_context(
    NonRecordingSpan(SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(TraceFlags.DEFAULT))), _ROOT
)
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
        #: what was made for the processes that are forked from this one
        self._prepared: sdk.Tracing | None = None
        self._runs: Runs | None = None
        self._reader = Reader()
        self._providers: list[Any] = []
        self._metrics: ClusterMetrics | None = None
        #: whether runs may be left out that are not to be recorded: a program's own trace is not ours to end
        self._chooses = False

    def preload(self) -> None:
        """Make all that needs no thread."""
        sdk.preload(["traces", "metrics"] if self._wants_metrics else ["traces"])
        made = self._prepared = sdk.prepare_tracing(self.hand_on, self.lose)
        if made is None:
            return
        self._use(made)
        if self._wants_metrics and (meters := sdk.prepare_metrics()) is not None:
            self._providers.append(meters)
        if made.handing is not None and self._draw.decides:
            self._runs = Runs(made, self._draw, made.handing)
            with made.handing.to_nobody():
                for _ in range(_REHEARSALS):
                    copy_context().run(self._rehearse)

    def _rehearse(self) -> None:
        """Do what a run does that is recorded: Python does it faster then, in each process that is forked."""
        task = TaskInfo(id="", name="rehearsal")
        self._draw.give(1, 0)
        self.qcore_pre_execute(ExecuteEvent(task=task))
        self.qcore_post_execute(ExecuteEvent(task=task, outcome=Outcome(Kind.SUCCESS, None)))

    def start(self) -> None:
        """Set up what is not there: what a program has set up is used."""
        if self._prepared is not None:
            self._prepared.provider.begin()
            self._draw.begin()
        else:
            self._use(sdk.set_up_tracing(self.hand_on if PREPARED.is_forked else None, self.lose))
        if self._wants_metrics and len(self._providers) == 1:
            # Programs of users may have instruments of their own.
            self._providers.append(sdk.set_up_metrics())

    def _use(self, tracing: sdk.Tracing) -> None:
        self._tracing = tracing
        self._providers = [tracing.provider]
        self._draw = Draw(tracing.provider.get_tracer(SCOPE))

    def qcore_worker_start(self, event: WorkerEvent) -> None:  # noqa: ARG002 - the signature of the hook
        """Record nothing in this worker but sampled runs, and what they start."""
        attach(_UNSAMPLED)
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
            attach(_UNSAMPLED)
            return
        span, context = self._begin(task, SpanKind.CONSUMER)
        if type(span) is not Run and not span.is_recording():
            # One for all of them costs less than one for each.
            attach(_UNSAMPLED)
            return
        _SPAN.set(span)
        attach(trace.set_span_in_context(span, context))

    def qcore_post_execute(self, event: ExecuteEvent) -> None:
        """End the span of the run."""
        outcome, span = event.outcome, _SPAN.get()
        if outcome is None or span is trace.INVALID_SPAN:
            return
        is_fine = outcome.kind is Kind.SUCCESS or outcome.kind is Kind.SKIPPED
        if is_fine and type(span) is Run and span.end_quietly(**{OUTCOME: outcome.kind.value}):
            return
        span.set_attribute(OUTCOME, outcome.kind.value)
        if not is_fine:
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
            ReportLost: spans cannot be exported, so none is made.

        """
        if self._tracing.fails:
            raise ReportLost("the OTLP endpoint takes nothing")
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

    def receive(self, data: bytes) -> None:
        """Export the span of a worker."""
        self._tracing.provider._active_span_processor.on_end(self._reader.read(data))  # noqa: SLF001 - the SDK has no other way in

    def waits(self) -> bool:
        """Return whether this process has anything to send itself."""
        # Metrics of the tasks' own have a provider once there are any.
        return not self._tracing.only_hands_on or any(
            hasattr(one, "force_flush") for one in self._providers[1:]
        )

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
        for exporting in self._tracing.exporting():
            exporting.give_up()

    def _begin(self, task: TaskInfo, kind: SpanKind, what: str = "process") -> tuple[Span, Context]:
        """Return a new span below that of the producer, which it links to as well, and its context.

        It also links to those of the messages that it follows.
        """
        headers: Mapping[str, str] = task.headers
        context, links, producer = _ROOT, [], INVALID_SPAN_CONTEXT
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
        if self._runs is not None and kind is SpanKind.CONSUMER:
            run = self._runs.begin(name, context, attributes, links, producer)
            if run is not None:
                return run, context
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


def _flush(provider: Any, seconds: float) -> None:  # noqa: ANN401 - of traces or of metrics
    try:
        provider.force_flush(int(seconds * 1000))
    except Exception as exc:  # noqa: BLE001 - logged; the SDK raises whatever its exporters do
        _log.warning("what waits could not be sent within %.3g s: %s", seconds, exc)


def _type(error: str, kind: str) -> str:
    """Return the class of the exception, or how the run ended."""
    name = error.partition(":")[0]
    return encodable(name) if name.isidentifier() or name.replace(".", "").isidentifier() else kind
