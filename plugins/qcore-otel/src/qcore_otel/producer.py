"""Decides which headers carry a trace from a producer to a worker."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.metrics import Observation
from opentelemetry.trace import Link, SpanKind

from qcore_otel.conventions import (
    DESTINATION,
    LINKS,
    NO,
    OPERATION,
    SCOPE,
    SYSTEM,
    TASK,
    UNSAMPLED,
    describe,
    encodable,
)
from qcore_otel.links import write_links

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.trace import SpanContext, Tracer

    from qcore.hookspecs import EnqueueEvent


#: schedules whose last span is kept
_SCHEDULES: Final = 1024


class _Tracing:
    """What makes spans, and what its sampler says before one is made."""

    def __init__(self, provider: Any) -> None:  # noqa: ANN401 - the API's or the SDK's
        self.provider = provider
        self.tracer: Tracer = provider.get_tracer(SCOPE)
        self._wins: Callable[[], bool] | None = None
        self._drops_below = False
        # Only a tracer of the SDK has one, and a program without the SDK cannot import what follows.
        if (sampler := getattr(self.tracer, "sampler", None)) is not None:
            from qcore_otel.drawing import Draw, drops_below  # noqa: PLC0415 - see above

            self._drops_below = drops_below(sampler)
            draw = Draw(self.tracer)
            if draw.decides:
                self.tracer, self._wins = draw.tracer, draw.wins

    def leaves_out(self) -> bool:
        """Return whether a span that is made now is surely not sampled."""
        above = trace.get_current_span().get_span_context()
        if above.is_valid:
            return self._drops_below and not above.trace_flags.sampled
        return self._wins is not None and not self._wins()


class _Sent:
    """Counts tasks that are enqueued; the SDK asks for the counts when it exports them.

    It may be set up later: the API hands it what there is by then.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: by destination and task
        self._counts: dict[tuple[str, str], int] = {}

    def begin(self) -> None:
        """Have the SDK ask for them."""
        os.register_at_fork(after_in_child=self.forget)
        metrics.get_meter(SCOPE).create_observable_counter(
            "messaging.client.sent.messages",
            [self._observe],
            unit="{message}",
            description="Tasks that were enqueued.",
        )

    def count(self, destination: str, task: str) -> None:
        """Count one."""
        with self._lock:
            self._counts[destination, task] = self._counts.get((destination, task), 0) + 1

    def forget(self) -> None:
        """Begin anew, in a process that was forked from the one that has counted."""
        self._lock = threading.Lock()
        self._counts.clear()

    def _observe(self, _: object) -> Iterable[Observation]:
        with self._lock:
            counts = self._counts.copy()
        for (destination, task), count in counts.items():
            labels = {
                SYSTEM: "qcore",
                OPERATION: "send",
                DESTINATION: encodable(destination),
                TASK: encodable(task),
            }
            yield Observation(count, labels)


class _Instruments:
    """What spans and counts are made by; a program may set up the SDK after its first enqueue."""

    def __init__(self) -> None:
        #: the span of each schedule that was fired last in this process
        self.fired: dict[str, SpanContext] = {}
        self._tracing: _Tracing | None = None
        self._sent: dict[str, _Sent] = {}

    def remember(self, schedule: str, span: SpanContext) -> None:
        """Keep the span that has sent the task of a schedule, for the next one to link to."""
        if len(self.fired) >= _SCHEDULES:
            self.fired.clear()
        self.fired[schedule] = span

    @property
    def tracing(self) -> _Tracing:
        """What makes spans."""
        provider, found = trace.get_tracer_provider(), self._tracing
        if found is None or found.provider is not provider:
            found = self._tracing = _Tracing(provider)
        return found

    @property
    def sent(self) -> _Sent:
        """What counts tasks that are enqueued.

        It is made by the first of them, for a worker that enqueues nothing has nothing to send, and without
        a lock, which a fork would inherit.
        """
        found = self._sent.get("all")
        if found is None:
            made = _Sent()
            # One of several threads is the first.
            found = self._sent.setdefault("all", made)
            if found is made:
                made.begin()
        return found


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
    task, tracing = event.task, _INSTRUMENTS.tracing
    if tracing.leaves_out():
        event.headers[UNSAMPLED] = NO
    else:
        _send(event, tracing.tracer)
    _INSTRUMENTS.sent.count(task.destination(event.cluster), task.name)


def _send(event: EnqueueEvent, tracer: Tracer) -> None:
    """Make the span, and add its headers."""
    attributes = describe(event.task, event.cluster, "send")
    if event.schedule is not None:
        attributes["qcore.schedule"] = event.schedule.name
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
