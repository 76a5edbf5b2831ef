"""Keeps what workers send by, made before they are forked."""

from __future__ import annotations

import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import MeterProvider as MeterProviderOfTheApi
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import SpanContext

from qcore_otel.conventions import SCOPE
from qcore_otel.session import LeanSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: What needs no thread and no connection to be made; an exporter of gRPC begins both.
_FORKABLE: Final = "opentelemetry.exporter.otlp.proto.http"
#: what the SDK gives a forked process another instance by, in its newer versions
_UPDATE: Final = "_update_resource"


class _Prepared:
    """Exporters and the resource, once for each worker."""

    def __init__(self) -> None:
        #: who has made them, and cannot use them
        self._maker = 0
        self._exporters: dict[type, Any] = {}
        self._resource: Resource | None = None
        self._own_instance = False

    def make(self, kinds: Iterable[type]) -> None:
        """Make them for the processes that are forked from this one."""
        self._maker = os.getpid()
        self._exporters = {kind: _make(kind) for kind in kinds if kind.__module__.startswith(_FORKABLE)}
        # Others than those of the SDK may depend on the process.
        detects = os.environ.get("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "").strip()
        self._resource = None if detects else Resource.create()
        self._own_instance = SERVICE_INSTANCE_ID not in OTELResourceDetector().detect().attributes

    def exporter(self, kind: type) -> Any:  # noqa: ANN401 - of any package
        """Return an exporter of this process."""
        made = self._exporters.pop(kind, None) if self.is_forked else None
        return kind() if made is None else made

    def resource(self) -> Resource:
        """Return what this process is."""
        found = self._resource if self.is_forked else None
        if found is None:
            return Resource.create()
        if self._own_instance and SERVICE_INSTANCE_ID in found.attributes:
            return found.merge(Resource({SERVICE_INSTANCE_ID: str(uuid.uuid4())}))
        return found

    @property
    def is_forked(self) -> bool:
        """Whether this process was forked from the one that has made them."""
        return self._maker not in {0, os.getpid()}

    @property
    def fixed_resource(self) -> Resource | None:
        """What each process is that is forked from this one, as far as the SDK does not see to it itself."""
        found = self._resource
        if found is None or SERVICE_INSTANCE_ID not in found.attributes or hasattr(TracerProvider, _UPDATE):
            return found
        return None


PREPARED: Final = _Prepared()


def _make(kind: type) -> Any:  # noqa: ANN401 - of any package
    """Make an exporter, and have it export a span to nobody: what is done once is done before the fork."""
    if any("CREDENTIAL_PROVIDER" in name for name in os.environ):
        return kind()
    session = LeanSession()
    made = kind(session=session)
    if isinstance(made, SpanExporter):
        session.rehearses = True
        made.export([_span()])
        session.rehearses = False
    return made


def _span() -> ReadableSpan:
    # A provider has something to do in each process that is forked.
    now = time.time_ns()
    context = SpanContext(1, 1, is_remote=False)
    return ReadableSpan("rehearsal", context, attributes={SCOPE: SCOPE}, start_time=now, end_time=now)


class ForkedProvider(TracerProvider):
    """Makes spans in the processes that are forked from the one that has made it: one instance, for traces.

    The SDK makes each an instance of its own, for which it looks for all that could say what a process
    is. A worker may live for some milliseconds, and that takes it as long as a hundred short tasks.
    """

    _begun = False

    def begin(self) -> None:
        """Leave it to the SDK what processes are that are forked from this one."""
        self._begun = True

    def _handle_fork(self) -> None:
        if self._begun:
            super()._handle_fork()


class LateMeterProvider(MeterProviderOfTheApi):
    """Has the provider made by the first who asks for a meter: most workers have nobody who does."""

    def __init__(self, make: Callable[[], MeterProviderOfTheApi]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: MeterProviderOfTheApi | None = None

    def get_meter(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the provider has it
        """Return a meter of the provider."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
        return self._made.get_meter(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the provider has it
        """Hand on what the SDK has beside meters, once it is made."""
        if name.startswith("_") or self._made is None:
            raise AttributeError(name)
        return getattr(self._made, name)
