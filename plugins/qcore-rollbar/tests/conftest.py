"""A stand-in for Rollbar, and clusters that report to it."""

from __future__ import annotations

import copy
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import rollbar

from qcore_rollbar import RollbarReporter
from qcore_testing.backends import clusters, queue_settings
from qcore_testing.http_sink import HttpSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore import App, Cluster

#: what must never leave: the key of the queue
KEY = "canary-of-the-key-0123456789-0123456789"
TOKEN = "32we33a92a5224jiww8982"
TASKS = """
import os, signal, time


def pay(card, pin=""):
    secret = f"canary-in-a-{'local'}"
    raise ValueError("declined")


def hang(path):
    open(path, "w").close()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


def ship():
    pass


def fall():
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Rollbar(HttpSink):
    """The service: it takes items."""

    def __init__(self) -> None:
        super().__init__(b'{"err": 0, "result": {}}')

    @property
    def endpoint(self) -> str:
        """Where items are posted to."""
        return f"http://{self.host}/api/1/"

    def items(self) -> list[dict[str, Any]]:
        """Return what was posted."""
        return [json.loads(one.body)["data"] for one in self.posted]

    def canaries(self) -> list[str]:
        """Return what was sent and must not have been."""
        planted = ("canary-card", "canary-pin", "canary-in-a-local", "canary-argument", KEY)
        return [one for one in planted if one in json.dumps(self.items())]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rollbar]:
    """Return the service; the SDK is as if it had just been imported."""
    monkeypatch.setattr(rollbar, "SETTINGS", copy.deepcopy(rollbar.SETTINGS))
    monkeypatch.setattr(rollbar, "_initialized", False)
    logger = logging.getLogger("rollbar")
    before, level = logger.filters[:], logger.level
    with Rollbar() as sink:
        yield sink
        sink.holds.clear()
    rollbar.events.reset()
    logger.filters[:] = before
    logger.setLevel(level)


@pytest.fixture
def started(service: Rollbar) -> Callable[..., RollbarReporter]:
    """Return a function that returns a reporter at work in this process."""

    def start(*, send_arguments: bool = False, **settings: Any) -> RollbarReporter:
        given = {"access_token": TOKEN, "environment": "Django-Q", "endpoint": service.endpoint}
        reporter = RollbarReporter(**(given | settings))
        reporter.send_arguments, reporter.secrets = send_arguments, [KEY]
        reporter.start()
        return reporter

    return start


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.further)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Return the settings of a queue: in a file, and again on a server."""
    with queue_settings(request.param, tmp_path) as settings:
        yield settings


@pytest.fixture
def running(
    service: Rollbar, backend: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[App, Cluster]]]:
    """Return a function that starts a cluster that reports to the service, and a producer for it."""
    common = {"max_attempts": 1, "secret_key": KEY, "log_level": "WARNING", **backend}
    with clusters(tmp_path, monkeypatch, "rollbar_tasks", TASKS, **common) as begin:

        def start(reporter: dict[str, Any], **settings: Any) -> tuple[App, Cluster]:
            given = {"access_token": TOKEN, "environment": "Django-Q", "endpoint": service.endpoint}
            return begin(**({"error_reporter": {"rollbar": given | reporter, "log": {}}} | settings))

        yield start
