"""A stand-in for a collector, and clusters that report to it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as metrics_internal
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.util._once import Once

from qcore_otel import OtelReporter, producer
from qcore_testing.backends import clusters, queue_settings
from qcore_testing.http_sink import HttpSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore import App, Cluster

#: what must never leave: the key of the queue
KEY = "canary-of-the-key-0123456789-0123456789"
TASKS = """
import os, signal, time
from opentelemetry import trace


def pay(card, pin=""):
    password = "-".join(["canary", "in", "a", "local"])
    raise ValueError("declined")


def ship(number):
    with trace.get_tracer("shop").start_as_current_span("select"):
        return format(trace.get_current_span().get_span_context().trace_id, "032x")


def drop(number):
    return number


def total(numbers):
    return len(numbers)


def fall():
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Collector(HttpSink):
    """The service: it takes OTLP."""

    @property
    def spans(self) -> list[Any]:
        """Return all spans that arrived."""
        return [
            span
            for request in self._requests("/v1/traces", ExportTraceServiceRequest)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def metrics(self) -> dict[str, list[Any]]:
        """Return the data points of each metric that arrived."""
        found: dict[str, list[Any]] = {}
        for request in self._requests("/v1/metrics", ExportMetricsServiceRequest):
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        points = getattr(metric, metric.WhichOneof("data")).data_points
                        found.setdefault(metric.name, []).extend(points)
        return found

    @property
    def services(self) -> set[str | None]:
        """Return the names of the services that sent traces."""
        return self.resources("service.name")

    def resources(self, name: str, *, metrics: bool = False) -> set[str | None]:
        """Return the values of an attribute of what has sent traces, or metrics."""
        kind = ExportMetricsServiceRequest if metrics else ExportTraceServiceRequest
        return {
            attributes(resource.resource).get(name)
            for request in self._requests("/v1/metrics" if metrics else "/v1/traces", kind)
            for resource in (request.resource_metrics if metrics else request.resource_spans)
        }

    def named(self, name: str) -> list[Any]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]

    def text(self) -> str:
        """Return all that was sent."""
        return "".join(map(str, self.spans)) + str(self.metrics)

    def canaries(self) -> list[str]:
        """Return what was sent and must not have been."""
        sent = b"".join(map(_plain, self.posted))
        planted = ("canary-card", "canary-pin", "canary-in-a-local", "canary-argument", KEY)
        return [one for one in planted if one.encode() in sent]

    def _requests(self, path: str, kind: Any) -> Iterator[Any]:
        for one in list(self.posted):
            if one.path == path:
                yield kind.FromString(_plain(one))


def _plain(posted: Any) -> bytes:
    body: bytes = posted.body
    return gzip.decompress(body) if posted.headers.get("Content-Encoding") == "gzip" else body


def attributes(what: Any) -> dict[str, Any]:
    """Return the attributes of a span, an event, a data point or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in what.attributes}


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no provider in this process, which may be set only once."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER", None)
    monkeypatch.setattr(metrics_internal, "_PROXY_METER_PROVIDER", metrics_internal._ProxyMeterProvider())
    monkeypatch.setattr(producer, "_INSTRUMENTS", producer._Instruments())
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER_SET_ONCE", Once())


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Return the service; variables of the SDK name it, as users have it."""
    forget(monkeypatch)
    with Collector(b"") as sink:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{sink.host}")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-workers")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
        yield sink
        sink.holds.clear()
        for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
            if hasattr(provider, "shutdown"):
                sink.close()
                provider.shutdown()


@pytest.fixture
def started(collector: Collector) -> Iterator[Callable[..., OtelReporter]]:
    """Yield a function that returns a reporter at work in this process."""
    del collector
    made: list[OtelReporter] = []

    def start(lost: list[tuple[str, int]] | None = None, **settings: Any) -> OtelReporter:
        reporter = OtelReporter(**settings)
        if lost is not None:
            reporter.lose = lambda why, count: lost.append((why, count))
        made.append(reporter)
        reporter.secrets, reporter.cluster = [KEY], "shop"
        reporter.preload()
        reporter.start()
        return reporter

    yield start
    # A thread that goes on sending would disturb other tests, hypothesis's by the numbers that it draws.
    for reporter in made:
        for one in reporter._providers:
            if isinstance(one, MeterProvider):
                one.shutdown(timeout_millis=2_000)


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.further)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Return the settings of a queue: in a file, and again on a server."""
    with queue_settings(request.param, tmp_path) as settings:
        yield settings


@pytest.fixture
def running(
    collector: Collector, backend: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[App, Cluster]]]:
    """Return a function that starts a cluster that reports to the service, and a producer for it."""
    del collector
    common = {"max_attempts": 1, "max_crashes": 1, "secret_key": KEY, "log_level": "WARNING", **backend}
    common |= {"error_reporter": {"log": {}, "otel": {}}}
    with clusters(tmp_path, monkeypatch, "traced_tasks", TASKS, **common) as start:
        yield start
