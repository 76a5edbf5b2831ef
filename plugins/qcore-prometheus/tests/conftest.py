"""Clusters that serve metrics, and what reads them."""

from __future__ import annotations

import socket
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from qcore_testing.backends import clusters, queue_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore import App, Cluster

TASKS = """
import os, signal, time


def add(x, y):
    return x + y


def fail():
    raise ValueError("no")


def fall():
    os.kill(os.getpid(), signal.SIGKILL)
"""
KEY = "canary-of-the-key-0123456789-0123456789"


class Page:
    """What a scrape returns."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {one.name: one for one in text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a name with these labels, -1 if there are none."""
        found = [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else -1.0


def scrape(address: str) -> Page:
    """Return what an endpoint serves."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=45) as answer:
        return Page(answer.read().decode())


@pytest.fixture
def address() -> str:
    """Return an address that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.further)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Return the settings of a queue: in a file, and again on a server."""
    with queue_settings(request.param, tmp_path) as settings:
        yield settings


@pytest.fixture
def running(
    backend: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[App, Cluster]]]:
    """Return a function that starts a cluster, and a producer for it."""
    common = {"workers": 2, "secret_key": KEY, "label": "blue", **backend}
    with clusters(tmp_path, monkeypatch, "counted_tasks", TASKS, **common) as start:
        yield start
