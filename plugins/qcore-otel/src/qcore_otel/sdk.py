"""Sets up the SDK from its environment variables."""

from __future__ import annotations

import logging
import os
import time
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from qcore.errors import ConfigError
from qcore_otel.prepared import PREPARED, LateMeterProvider

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

_log = logging.getLogger("qcore.otel")

_PROTOCOLS: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
#: Seconds for which a failed export is remembered.
_REST: Final = 30.0


def exporters(signal: str) -> list[Any]:
    """Return the classes of the exporters that the environment names, `otlp` if it names none.

    Raises:
        ConfigError: one is not installed.

    """
    named = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip() or "otlp"
    found, wrong = [], []
    for name in (one.strip() for one in named.split(",")):
        if name == "none":
            continue
        wanted = _protocol(signal) if name == "otlp" else name
        if kind := _exporter(signal, wanted):
            found.append(kind)
        else:
            wrong.append(
                f"OTEL_{signal.upper()}_EXPORTER: no exporter {wanted!r} is installed; install the package"
                " of OpenTelemetry that has it, or set the variable to otlp or none"
            )
    if wrong:
        raise ConfigError(wrong)
    return found


@cache  # a search through all that is installed takes longer than to run a thousand short tasks
def _exporter(signal: str, name: str) -> Any:  # noqa: ANN401 - of any package
    points = entry_points(group=f"opentelemetry_{signal}_exporter", name=name)
    return next(iter(points)).load() if points else None


def preload(signals: Iterable[str]) -> None:
    """Make what workers need to send these, which each would else do for itself.

    Raises:
        ConfigError: an exporter is not installed.

    """
    if not is_disabled():
        PREPARED.make([kind for signal in signals for kind in exporters(signal)])


def _protocol(signal: str) -> str:
    names = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    named = next(filter(None, map(os.environ.get, names)), "http/protobuf")
    return _PROTOCOLS.get(named, named)


def is_disabled() -> bool:
    """Whether the SDK is switched off."""
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


class WatchedExporter(SpanExporter):
    """Hands spans on, and remembers that they could not be exported."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._failed_at = -_REST
        #: spans that were not exported
        self.lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export, and take note of a failure."""
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._failed_at = -_REST
        else:
            self.lost += len(spans)
            self._failed_at = time.monotonic()
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Hand it on."""
        return self._inner.force_flush(timeout_millis)

    @property
    def fails(self) -> bool:
        """Whether the last export has failed, not long ago."""
        return time.monotonic() - self._failed_at < _REST


def set_up_tracing() -> tuple[Any, Sequence[WatchedExporter]]:
    """Return the provider of this process, and the exporters of one that was made here.

    Its threads are started here, so this is called after the fork.
    """
    provider = trace.get_tracer_provider()
    if is_disabled() or isinstance(provider, TracerProvider):
        return provider, ()
    watched = [WatchedExporter(PREPARED.exporter(kind)) for kind in exporters("traces")]
    # Who ends the process flushes before, for a limited time.
    made = TracerProvider(resource=PREPARED.resource(), shutdown_on_exit=False)
    for one in watched:
        made.add_span_processor(BatchSpanProcessor(one))
    trace.set_tracer_provider(made)
    return made, watched


def set_up_metrics(tracing: Any) -> Any:  # noqa: ANN401 - the API's provider or the SDK's
    """Return the provider of metrics of this process; as for traces.

    Args:
        tracing: the provider of traces, which says what this process is.

    """
    provider = metrics.get_meter_provider()
    if is_disabled() or isinstance(provider, MeterProvider | LateMeterProvider):
        return provider
    kinds = exporters("metrics")
    if kinds:
        metrics.set_meter_provider(LateMeterProvider(lambda: _make_metrics(kinds, tracing)))
    return metrics.get_meter_provider()


def _make_metrics(kinds: Sequence[Any], tracing: Any) -> MeterProvider:  # noqa: ANN401 - as above
    readers = [PeriodicExportingMetricReader(PREPARED.exporter(kind)) for kind in kinds]
    # To find out what a process is takes as long as a hundred short tasks.
    resource = getattr(tracing, "resource", None)
    return MeterProvider(readers, resource, shutdown_on_exit=False)
