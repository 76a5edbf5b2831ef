"""Decides which headers carry a trace from a producer to a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import SpanKind

from qcore_otel.conventions import DESTINATION, NO, OPERATION, SCOPE, SYSTEM, TASK, UNSAMPLED, describe

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter
    from opentelemetry.trace import Tracer

    from qcore.hookspecs import EnqueueEvent


class _Instruments:
    """What spans and counts are made by; a program may set up the SDK after its first enqueue."""

    def __init__(self) -> None:
        self._tracing: object = None
        self._metering: object = None
        self._tracer: Tracer
        self._sent: Counter

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


def publish(event: EnqueueEvent) -> None:
    """Add a span for the sending of a task, and the headers by which its worker continues the trace.

    Without the SDK there is no trace, and then the message stays as it is.
    """
    task = event.task
    attributes = describe(task, event.queue, "send")
    if event.schedule is not None:
        attributes["qcore.schedule"] = event.schedule.name
    tracer = _INSTRUMENTS.tracer
    span = tracer.start_span(f"send {attributes[TASK]}", kind=SpanKind.PRODUCER, attributes=attributes)
    context = span.get_span_context()
    if context.is_valid:
        if context.trace_flags.sampled:
            propagate.inject(event.headers, trace.set_span_in_context(span))
        else:
            event.headers[UNSAMPLED] = NO
    span.end()
    _INSTRUMENTS.sent.add(1, {name: attributes[name] for name in (SYSTEM, OPERATION, DESTINATION, TASK)})
