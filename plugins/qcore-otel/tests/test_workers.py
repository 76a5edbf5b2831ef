"""What a worker takes over from the process it is forked from."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from .conftest import Collector

INSTANCE = "service.instance.id"
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
        threads = [threading.active_count()]
        trace.get_tracer("ours").start_span("ours").end()
        threads.append(threading.active_count())
        reporter.flush(30)
        new = sorted(set(sys.modules) - imported)
        metrics.get_meter("theirs").create_counter("theirs").add(1)
        trace.get_tracer("theirs").start_span("theirs").end()
        reporter.flush(30)
        os.write(writing, json.dumps([new, threads]).encode())
        os._exit(0)
    os.close(writing)
    instances.append(json.loads(os.read(reading, 10**6)))
print(json.dumps(instances))
"""


def forked() -> list[list[object]]:
    """Return what two workers found: modules, and threads before and after their first span."""
    ran = subprocess.run(
        [sys.executable, "-c", FORKED], stdout=subprocess.PIPE, check=True, text=True, timeout=120
    )
    found: list[list[object]] = json.loads(ran.stdout)
    return found


def test_a_worker_imports_nothing_to_report(collector: Collector) -> None:
    """All is imported before the fork, also what sends; its thread and meters are made when they are used."""
    (first, threads), (second, _) = forked()

    assert first == second == []
    assert threads == [1, 2]
    assert collector.services == {"shop-workers"}
    assert len(collector.named("ours")) == len(collector.named("theirs")) == 2
    assert len(collector.metrics["theirs"]) == 2


def test_workers_are_one_instance_for_traces_and_each_its_own_for_metrics(collector: Collector) -> None:
    """A sum of two that count under one name would rise and fall."""
    forked()

    assert len(collector.resources(INSTANCE)) == 1
    # Old SDKs have none.
    theirs = collector.resources(INSTANCE, metrics=True)
    assert theirs == {None} or len(theirs) == 2


def test_an_instance_that_was_named_keeps_its_name(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`OTEL_RESOURCE_ATTRIBUTES` says more than the SDK's own guess."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=left-rack")

    forked()

    assert collector.resources(INSTANCE) == {"left-rack"}
    assert collector.resources(INSTANCE, metrics=True) == {"left-rack"}
