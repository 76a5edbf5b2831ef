"""Decides which headers carry a trace from a producer to a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind

from qcore_otel.conventions import DESTINATION, LINKS, NO, OPERATION, SCOPE, SYSTEM, TASK, UNSAMPLED, describe
from qcore_otel.links import write_links

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter
    from opentelemetry.trace import SpanContext, Tracer

    from qcore.hookspecs import EnqueueEvent


#: schedules whose last span is kept
_SCHEDULES: Final = 1024


class _Instruments:
    """What spans and counts are made by; a program may set up the SDK after its first enqueue."""

    def __init__(self) -> None:
        #: the span of each schedule that was fired last in this process
        self.fired: dict[str, SpanContext] = {}
        self._tracing: object = None
        self._metering: object = None
        self._tracer: Tracer
        self._sent: Counter

    def remember(self, schedule: str, span: SpanContext) -> None:
        """Keep the span that has sent the task of a schedule, for the next one to link to."""
        if len(self.fired) >= _SCHEDULES:
            self.fired.clear()
        self.fired[schedule] = span

    @property
    def tracer(self) -> Tracer:
        """What makes spans."""
        if (provider := trace.get_tracer_provider()) is not self._tracing:
            self._tracing, self._tracer = provider, provider.get_tracer(SCOPE)
        return self._tracer

    @property
    def sent(self) -> Counter:
        """What counts tasks that are enqueued."""
        if (provider := metrics.get_meter_provider()) is not self._metering:
            self._metering = provider
            self._sent = provider.get_meter(SCOPE).create_counter(
                "messaging.client.sent.messages", unit="{message}", description="Tasks that were enqueued."
            )
        return self._sent


_INSTRUMENTS: Final = _Instruments()


def _before(event: EnqueueEvent) -> list[SpanContext]:
    """Return the spans of what a task follows: tasks of its flow, or the slot of its schedule before."""
    if event.schedule is not None:
        last = _INSTRUMENTS.fired.get(event.schedule.name)
        return [] if last is None else [last]
    contexts = (propagate.extract(headers, Context()) for headers in event.after)
    found = (trace.get_current_span(context).get_span_context() for context in contexts)
    return [one for one in found if one.is_valid]


def publish(event: EnqueueEvent) -> None:
    """Add a span for the sending of a task, and the headers by which its worker continues the trace.

    Without the SDK there is no trace, and then the message stays as it is.
    """
    task = event.task
    attributes = describe(task, event.cluster, "send")
    if event.schedule is not None:
        attributes["qcore.schedule"] = event.schedule.name
    tracer = _INSTRUMENTS.tracer
    before = _before(event)
    span = tracer.start_span(
        f"send {attributes[TASK]}",
        kind=SpanKind.PRODUCER,
        attributes=attributes,
        links=[Link(one) for one in before],
    )
    context = span.get_span_context()
    if context.is_valid:
        if context.trace_flags.sampled:
            propagate.inject(event.headers, trace.set_span_in_context(span))
            if before:
                event.headers[LINKS] = write_links(before)
            if event.schedule is not None:
                _INSTRUMENTS.remember(event.schedule.name, context)
        else:
            event.headers[UNSAMPLED] = NO
    span.end()
    _INSTRUMENTS.sent.add(1, {name: attributes[name] for name in (SYSTEM, OPERATION, DESTINATION, TASK)})
