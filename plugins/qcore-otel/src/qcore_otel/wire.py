"""Writes ended spans as bytes, and reads them in another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore_otel.runs import Parts

_T = TypeVar("_T")

#: trace, span, whether it is of another process, flags, state
_Context = tuple[bytes, int, bool, int, str]
#: what was left and how many were dropped
_Attributes = tuple[dict[str, Any], int]
#: resources and scopes that are kept, because others of the same will come
_KEPT: Final = 256

_CONSUMER: Final = SpanKind.CONSUMER.value
_UNSET: Final = (StatusCode.UNSET.value, None)

_encode: Final = msgspec.msgpack.Encoder().encode


class _Scope(msgspec.Struct, array_like=True, frozen=True):
    name: str
    version: str | None
    url: str | None
    attributes: dict[str, Any]


class _Resource(msgspec.Struct, array_like=True, frozen=True):
    attributes: dict[str, Any]
    url: str


class _Span(msgspec.Struct, array_like=True, frozen=True):
    """A span, as it is written."""

    resource: msgspec.Raw
    scope: msgspec.Raw
    name: str
    kind: int
    context: _Context
    parent: _Context | None
    began: int | None
    ended: int | None
    attributes: _Attributes
    events: list[tuple[str, int, _Attributes]]
    links: list[tuple[_Context, _Attributes]]
    #: code and text
    status: tuple[int, str | None]
    dropped_events: int
    dropped_links: int


class Writer:
    """Writes spans, most of which have the same resource and scope as the one before."""

    def __init__(self) -> None:
        self._resource: tuple[Resource | None, msgspec.Raw] = (None, msgspec.Raw())
        self._scope: tuple[InstrumentationScope | None, msgspec.Raw] = (None, _raw(None))

    def write(self, span: ReadableSpan) -> bytes:
        """Return a span as bytes.

        Raises:
            Exception: it has values that cannot be written so.

        """
        context, parent, status = span.get_span_context(), span.parent, span.status
        assert context is not None
        return _encode(
            _Span(
                *self._of(span.resource, span.instrumentation_scope),
                span.name,
                span.kind.value,
                _context(context),
                None if parent is None else _context(parent),
                span.start_time,
                span.end_time,
                (dict(span.attributes or {}), span.dropped_attributes),
                [(one.name, one.timestamp, _attributes(one)) for one in span.events],
                [(_context(one.context), _attributes(one)) for one in span.links],
                (status.status_code.value, status.description),
                span.dropped_events,
                span.dropped_links,
            )
        )

    def write_run(self, run: Parts, ended: int) -> bytes:
        """Return the span of a run as bytes, without what it does not have."""
        parent = run.parent
        # As a `_Span`, which is one thing more to make.
        return _encode(
            (
                *self._of(run.resource, run.scope),
                run.name,
                _CONSUMER,
                _context(run.context),
                None if parent is None else _context(parent),
                run.began,
                ended,
                (run.attributes, 0),
                (),
                [(_context(one.context), ({}, 0)) for one in run.links],
                _UNSET,
                0,
                0,
            )
        )

    def _of(self, of: Resource, by: InstrumentationScope | None) -> tuple[msgspec.Raw, msgspec.Raw]:
        # Several threads may write at once.
        resource, scope = self._resource, self._scope
        if resource[0] is not of:
            resource = self._resource = of, _raw(_Resource(dict(of.attributes), of.schema_url))
        if scope[0] is not by:
            scope = self._scope = by, _raw(_write_scope(by))
        return resource[1], scope[1]


class Reader:
    """Reads spans that a `Writer` of another process has written."""

    def __init__(self) -> None:
        self._decode = msgspec.msgpack.Decoder(_Span).decode
        self._resources: dict[bytes, Resource] = {}
        self._scopes: dict[bytes, InstrumentationScope | None] = {}

    def read(self, data: bytes) -> ReadableSpan:
        """Return a span."""
        one = self._decode(data)
        code, text = one.status
        return ReadableSpan(
            one.name,
            _read_context(one.context),
            None if one.parent is None else _read_context(one.parent),
            _kept(self._resources, bytes(one.resource), _read_resource),
            _read_attributes(one.attributes),
            _bounded(
                [Event(name, _read_attributes(of), at) for name, at, of in one.events], one.dropped_events
            ),
            _bounded(
                [Link(_read_context(to), _read_attributes(of)) for to, of in one.links], one.dropped_links
            ),
            SpanKind(one.kind),
            status=Status(StatusCode(code), text),
            start_time=one.began,
            end_time=one.ended,
            instrumentation_scope=_kept(self._scopes, bytes(one.scope), _read_scope),
        )


class _SameResource(Resource):
    """A resource that many spans have, of which an exporter asks the hash each time."""

    _hash = 0

    def __hash__(self) -> int:
        """Return the hash, which takes as long as to record a span."""
        self._hash = self._hash or super().__hash__()
        return self._hash


def _raw(what: Any) -> msgspec.Raw:  # noqa: ANN401 - whatever can be encoded
    return msgspec.Raw(_encode(what))


def _kept(kept: dict[bytes, _T], data: bytes, read: Callable[[bytes], _T]) -> _T:
    found = kept.get(data)
    if found is None:
        if len(kept) >= _KEPT:
            kept.clear()
        found = kept[data] = read(data)
    return found


def _context(one: SpanContext) -> _Context:
    state = one.trace_state.to_header() if one.trace_state else ""
    return one.trace_id.to_bytes(16, "big"), one.span_id, one.is_remote, int(one.trace_flags), state


def _read_context(one: _Context) -> SpanContext:
    trace_id, span_id, is_remote, flags, state = one
    return SpanContext(
        int.from_bytes(trace_id, "big"),
        span_id,
        is_remote,
        TraceFlags(flags),
        TraceState.from_header([state]) if state else None,
    )


def _attributes(of: Event | Link) -> _Attributes:
    return dict(of.attributes or {}), of.dropped_attributes


def _read_attributes(one: _Attributes) -> Any:  # noqa: ANN401 - as the SDK has them
    found, dropped = one
    if any(type(value) is list for value in found.values()):
        found = {name: _as_tuple(value) for name, value in found.items()}
    if not dropped:
        return found
    bounded = BoundedAttributes(attributes=found)
    bounded.dropped = dropped
    return bounded


def _as_tuple(value: Any) -> Any:  # noqa: ANN401 - as above
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _bounded(found: list[_T], dropped: int) -> Sequence[_T]:
    if not dropped:
        return found
    bounded = BoundedList.from_seq(None, found)
    bounded.dropped = dropped
    return bounded


def _write_scope(scope: InstrumentationScope | None) -> _Scope | None:
    if scope is None:
        return None
    return _Scope(scope.name, scope.version, scope.schema_url, dict(scope.attributes or {}))


def _read_scope(data: bytes) -> InstrumentationScope | None:
    one = msgspec.msgpack.decode(data, type=_Scope | None)
    return None if one is None else InstrumentationScope(one.name, one.version, one.url, one.attributes)


def _read_resource(data: bytes) -> Resource:
    one = msgspec.msgpack.decode(data, type=_Resource)
    return _SameResource(one.attributes, one.url)
