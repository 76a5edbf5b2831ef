"""Decides how spans that another one follows are written into a header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.trace import SpanContext

_W3C: Final = TraceContextTextMapPropagator()


def write_links(spans: Iterable[SpanContext]) -> str:
    """Return spans as the value of a header."""
    return ",".join(f"00-{one.trace_id:032x}-{one.span_id:016x}-{one.trace_flags:02x}" for one in spans)


def read_links(value: str) -> list[SpanContext]:
    """Return the spans of a header, without those that are not valid."""
    contexts = [_W3C.extract({"traceparent": one}, Context()) for one in value.split(",")]
    found = [trace.get_current_span(context).get_span_context() for context in contexts]
    return [one for one in found if one.is_valid]
