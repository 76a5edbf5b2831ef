"""Sets up the SDK from its environment variables."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider

from qcore.errors import ConfigError
from qcore_otel.prepared import PREPARED, ForkedProvider, LateMeterProvider
from qcore_otel.processors import Exporting, Handing, WatchedExporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

    from qcore_otel.processors import Lose

_PROTOCOLS: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


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


class Tracing(NamedTuple):
    """What makes spans in this process."""

    provider: Any
    #: what exports them here, unless the program has a provider of its own; they may begin later
    exporting: Callable[[], Sequence[Exporting]] = tuple
    #: what hands them on instead
    handing: Handing | None = None

    @property
    def only_hands_on(self) -> bool:
        """Whether spans go to the supervisor and nowhere else; a program may add processors of its own."""
        if self.handing is None or self.handing.own:
            return False
        processors = getattr(self.provider, "_active_span_processor", None)
        return bool(getattr(processors, "_span_processors", None) == (self.handing,))

    @property
    def fails(self) -> bool:
        """Whether the last export has failed, not long ago."""
        return any(one.exporter.fails for one in self.exporting())


def prepare_tracing(hand_on: Callable[[bytes], bool], lose: Lose) -> Tracing | None:
    """Have spans made in the processes that are forked from this one, as far as all is known of them here."""
    resource = PREPARED.fixed_resource
    if is_disabled() or resource is None or isinstance(trace.get_tracer_provider(), TracerProvider):
        return None
    made = _make_handing(ForkedProvider, resource, hand_on, lose)
    trace.set_tracer_provider(made.provider)
    return made


def set_up_tracing(
    hand_on: Callable[[bytes], bool] | None = None, lose: Lose = lambda _, __: None
) -> Tracing:
    """Have spans made in this process, by its own provider if there is one, and return what makes them.

    Args:
        hand_on: has the supervisor export a span; None = this process exports its own, in a thread.
        lose: takes note of lost spans.

    """
    provider = trace.get_tracer_provider()
    if is_disabled() or isinstance(provider, TracerProvider):
        return Tracing(provider)
    if hand_on is not None:
        made = _make_handing(TracerProvider, PREPARED.resource(), hand_on, lose)
    else:
        exporting = _exporting(lose)
        made = Tracing(_provider(TracerProvider, PREPARED.resource(), exporting), lambda: exporting)
    trace.set_tracer_provider(made.provider)
    return made


def _make_handing(
    kind: type[TracerProvider], resource: Resource, hand_on: Callable[[bytes], bool], lose: Lose
) -> Tracing:
    handing = Handing(hand_on, lambda: _exporting(lose))
    wanted = [handing] if exporters("traces") else []
    return Tracing(_provider(kind, resource, wanted), lambda: handing.own, handing)


def _exporting(lose: Lose) -> list[Exporting]:
    """Return what exports in threads of this process, so this is called after the fork."""
    return [Exporting(WatchedExporter(PREPARED.exporter(kind), lose), lose) for kind in exporters("traces")]


def _provider(
    kind: type[TracerProvider], resource: Resource, processors: Iterable[SpanProcessor]
) -> TracerProvider:
    # Who ends the process flushes before, for a limited time.
    made = kind(resource=resource, shutdown_on_exit=False)
    for one in processors:
        made.add_span_processor(one)
    return made


def prepare_metrics() -> Any:  # noqa: ANN401 - the API's provider or the SDK's
    """Have meters made in the processes that are forked from this one; None if one is used already."""
    there: Any = metrics.get_meter_provider()
    # Who has asked for one gets it at once, and then it has a thread.
    return set_up_metrics() if getattr(there, "_meters", None) == [] else None


def set_up_metrics() -> Any:  # noqa: ANN401 - as above
    """Return the provider of metrics of this process; as for traces."""
    provider = metrics.get_meter_provider()
    if is_disabled() or isinstance(provider, MeterProvider | LateMeterProvider):
        return provider
    kinds = exporters("metrics")
    if kinds:
        metrics.set_meter_provider(LateMeterProvider(lambda: _make_metrics(kinds)))
    return metrics.get_meter_provider()


def _make_metrics(kinds: Sequence[Any]) -> MeterProvider:
    readers = [PeriodicExportingMetricReader(PREPARED.exporter(kind)) for kind in kinds]
    return MeterProvider(readers, PREPARED.resource(), shutdown_on_exit=False)
