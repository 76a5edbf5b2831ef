"""Decides when the span of a run needs the SDK."""

from __future__ import annotations

import os
import time
from random import getrandbits
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span as SpanOfTheSdk
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link

    from qcore_otel.drawing import Draw
    from qcore_otel.processors import Handing
    from qcore_otel.sdk import Tracing

#: variables by which the SDK makes more, or less, of a span
_SPECIAL: Final = ("_LIMIT", "_INTERNAL_METRICS_ENABLED")
#: the bit of a trace whose id is random, in newer versions of the SDK
_RANDOM: Final = 2


class Parts(NamedTuple):
    """What the span of a run has."""

    resource: Resource
    scope: InstrumentationScope
    name: str
    #: the context that it was begun in
    around: Context
    attributes: dict[str, Any]
    links: Sequence[Link]
    context: SpanContext
    parent: SpanContext | None
    began: int


class Runs:
    """Begins the spans of runs in a worker that hands them on.

    To make a span, the SDK goes through so much that is new to a process that lives for some
    milliseconds that it takes as long as fifty short tasks. What a run has to tell if nobody asks or
    tells anything of its span, which most runs do not, needs none of it.
    """

    def __init__(self, tracing: Tracing, draw: Draw, handing: Handing) -> None:
        self._tracing = tracing
        self._draw = draw
        self._handing = handing
        sampler = getattr(draw.tracer, "sampler", None)
        #: whether what is sampled in the process before is sampled here
        self._follows = (
            isinstance(sampler, ParentBased)
            and getattr(sampler, "_remote_parent_sampled", None) is ALWAYS_ON
            and type(sampler).should_sample is ParentBased.should_sample
        )
        span = draw.tracer.start_span("rehearsal", Context())
        self._flags = TraceFlags(span.get_span_context().trace_flags | TraceFlags.SAMPLED)
        self.resource = tracing.provider.resource
        self.scope: Any = getattr(draw.tracer, "_instrumentation_scope", None)
        self._works = self.scope is not None and not any(
            name.startswith("OTEL_") and name.endswith(_SPECIAL) for name in os.environ
        )

    def begin(
        self,
        name: str,
        context: Context,
        attributes: dict[str, Any],
        links: Sequence[Link],
        parent: SpanContext,
    ) -> Run | None:
        """Return the span of a run that is sampled for sure, None if the SDK has to be asked."""
        if not (self._works and self._tracing.only_hands_on):
            return None
        if parent.is_valid:
            if not self._follows or not parent.trace_flags.sampled:
                return None
            flags = TraceFlags(TraceFlags.SAMPLED | (parent.trace_flags & self._flags & _RANDOM))
            trace_id, state = parent.trace_id, parent.trace_state
        elif trace_id := self._draw.take():
            flags, state = self._flags, None
        else:
            return None
        own = SpanContext(trace_id, getrandbits(64) or 1, False, flags, state)  # noqa: FBT003 - as the SDK does
        before = parent if parent.is_valid else None
        now = time.time_ns()
        return Run(self, Parts(self.resource, self.scope, name, context, attributes, links, own, before, now))

    def finish(self, run: Parts) -> None:
        """Hand on a span that is complete."""
        self._handing.end_run(run, time.time_ns())

    def make(self, run: Parts) -> Span:
        """Return a span of the SDK for one that was begun."""
        self._draw.give(0 if run.parent else run.context.trace_id, run.context.span_id)
        return self._draw.tracer.start_span(
            run.name, run.around, SpanKind.CONSUMER, run.attributes, run.links, run.began
        )


class Run(Span):
    """The span of a run, which becomes one of the SDK's as soon as anything is asked or told of it."""

    def __init__(self, runs: Runs, parts: Parts) -> None:
        self._runs = runs
        self._parts = parts
        self._made: Span | None = None

    def end_quietly(self, **attributes: str) -> bool:
        """End it with these attributes if nobody has asked or told anything of it; return whether it has."""
        if self._made is not None:
            return False
        self._made = NonRecordingSpan(self._parts.context)
        self._runs.finish(self._parts._replace(attributes={**self._parts.attributes, **attributes}))
        return True

    def get_span_context(self) -> SpanContext:
        """Return its ids."""
        return self._parts.context

    def is_recording(self) -> bool:
        """Whether it has not ended."""
        return self._made is None or self._made.is_recording()

    def end(self, end_time: int | None = None) -> None:
        """End it."""
        self._span().end(end_time)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes."""
        self._span().set_attributes(attributes)

    def set_attribute(self, key: str, value: Any) -> None:  # noqa: ANN401 - as the API has it
        """Set an attribute."""
        self._span().set_attribute(key, value)

    def add_event(self, *args: Any, **kwargs: Any) -> None:
        """Add an event."""
        self._span().add_event(*args, **kwargs)

    def add_link(self, *args: Any, **kwargs: Any) -> None:
        """Add a link."""
        self._span().add_link(*args, **kwargs)

    def update_name(self, name: str) -> None:
        """Give it another name."""
        self._span().update_name(name)

    def set_status(self, *args: Any, **kwargs: Any) -> None:
        """Say how it ended."""
        self._span().set_status(*args, **kwargs)

    def record_exception(self, *args: Any, **kwargs: Any) -> None:
        """Add the event of an exception."""
        self._span().record_exception(*args, **kwargs)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._span().__exit__(kind, error, trace)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what the SDK's have beside
        """Return what a span of the SDK has beside."""
        return getattr(self._span(), name)

    # For whoever looks whether it is one of the SDK's.
    __class__ = property(lambda _: SpanOfTheSdk)

    def _span(self) -> Span:
        if self._made is None:
            self._made = self._runs.make(self._parts)
        return self._made
