"""Sets up the SDK from its environment variables."""

from __future__ import annotations

import logging
import os
import time
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from qcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        points = entry_points(group=f"opentelemetry_{signal}_exporter", name=wanted)
        if points:
            found.append(next(iter(points)).load())
        else:
            wrong.append(
                f"OTEL_{signal.upper()}_EXPORTER: no exporter {wanted!r} is installed; install the package"
                " of OpenTelemetry that has it, or set the variable to otlp or none"
            )
    if wrong:
        raise ConfigError(wrong)
    return found


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
    watched = [WatchedExporter(kind()) for kind in exporters("traces")]
    # Who ends the process flushes before, for a limited time.
    made = TracerProvider(shutdown_on_exit=False)
    for one in watched:
        made.add_span_processor(BatchSpanProcessor(one))
    trace.set_tracer_provider(made)
    return made, watched


def set_up_metrics() -> Any:  # noqa: ANN401 - the API's provider or the SDK's
    """Return the provider of metrics of this process; as for traces."""
    provider = metrics.get_meter_provider()
    if is_disabled() or isinstance(provider, MeterProvider):
        return provider
    readers = [PeriodicExportingMetricReader(kind()) for kind in exporters("metrics")]
    if readers:
        metrics.set_meter_provider(MeterProvider(readers, shutdown_on_exit=False))
    return metrics.get_meter_provider()
