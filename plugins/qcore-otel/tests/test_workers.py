"""What a worker takes over from the process it is forked from."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from .conftest import Collector

#: a process that workers are forked from, and one of them; prints what the worker finds
FORKED = """
import json, os, sys, threading
from opentelemetry import metrics, trace
from qcore_otel import OtelReporter

reporter = OtelReporter()
reporter.cluster = "shop"
reporter.preload()
assert threading.active_count() == 1
instances = []
for _ in range(2):
    reading, writing = os.pipe()
    if not os.fork():
        imported = set(sys.modules)
        reporter.start()
        threads = threading.active_count() - 1
        trace.get_tracer("ours").start_span("ours").end()
        reporter.flush(30)
        new = sorted(set(sys.modules) - imported)
        metrics.get_meter("theirs").create_counter("theirs").add(1)
        trace.get_tracer("theirs").start_span("theirs").end()
        reporter.flush(30)
        of = trace.get_tracer_provider().resource.attributes
        told = [new, threads, of["service.name"], of.get("service.instance.id")]
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    os.close(writing)
    instances.append(json.loads(os.read(reading, 10**6)))
print(json.dumps(instances))
"""


def forked() -> list[list[object]]:
    """Return what two workers found: modules, threads, name of the service, and id of the instance."""
    ran = subprocess.run(
        [sys.executable, "-c", FORKED], stdout=subprocess.PIPE, check=True, text=True, timeout=120
    )
    found: list[list[object]] = json.loads(ran.stdout)
    return found


def test_a_worker_imports_nothing_to_report(collector: Collector) -> None:
    """All is imported before the fork, also what sends; it has one thread, and meters of its tasks' own."""
    (first, threads, service, one), (second, _, _, other) = forked()

    assert first == second == []
    assert threads == 1
    assert service == "shop-workers"
    # Old SDKs have none.
    assert one is None or one != other
    assert len(collector.named("ours")) == len(collector.named("theirs")) == 2
    assert len(collector.metrics["theirs"]) == 2


def test_an_instance_that_was_named_keeps_its_name(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`OTEL_RESOURCE_ATTRIBUTES` says more than the SDK's own guess."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=left-rack")
    del collector

    assert {instance for _, _, _, instance in forked()} == {"left-rack"}
