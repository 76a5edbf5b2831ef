"""A stand-in for Sentry, and clusters that report to it."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations import logging as sentry_logging

from qcore_sentry import SentryReporter
from qcore_testing.backends import clusters, queue_settings
from qcore_testing.http_sink import HttpSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore import App, Cluster

#: what must never leave: the key of the queue
KEY = "canary-of-the-key-0123456789-0123456789"
TASKS = """
import asyncio, os, signal, time
import sentry_sdk


def mark(number):
    sentry_sdk.add_breadcrumb(message=f"crumb {number}")
    sentry_sdk.set_tag("number", str(number))
    raise RuntimeError(f"marked {number}")


async def inner(number):
    sentry_sdk.add_breadcrumb(message=f"crumb {number}")


async def mark_inside(number):
    await asyncio.gather(inner(number))
    await asyncio.sleep(0.05)
    sentry_sdk.get_current_scope().set_tag("number", str(number))
    raise RuntimeError(f"marked {number}")


def quiet():
    raise LookupError("quiet")


def pay(card, pin=""):
    password = "-".join(["canary", "in", "a", "local"])
    sentry_sdk.add_breadcrumb(message="about to pay")
    sentry_sdk.set_tag("shop", "main")
    raise ValueError("declined")


def ship(number):
    with sentry_sdk.start_span(op="db", name="select"):
        return number


def hang(path):
    open(path, "w").close()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


def fall():
    os.kill(os.getpid(), signal.SIGKILL)


def quarrel():
    try:
        raise KeyError("reported by the task")
    except KeyError:
        sentry_sdk.capture_exception()
        raise
"""


class Sentry(HttpSink):
    """The service: it takes envelopes."""

    @property
    def dsn(self) -> str:
        """The address of a project."""
        return f"http://public@{self.host}/42"

    def items(self, kind: str) -> list[dict[str, Any]]:
        """Return all items of a kind, `event`, `transaction` or `check_in`."""
        found = []
        for _, headers, body in self.posted:
            plain = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
            for item in Envelope.deserialize(plain).items:
                found += [json.loads(item.get_bytes())] if item.type == kind else []
        return found

    def text(self) -> str:
        """Return all that was sent."""
        return json.dumps([self.items(kind) for kind in ("event", "transaction", "check_in")])

    def canaries(self) -> list[str]:
        """Return what was sent and must not have been."""
        planted = ("canary-card", "canary-pin", "canary-in-a-local", "canary-argument", KEY)
        return [one for one in planted if one in self.text()]


@pytest.fixture
def sentry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sentry]:
    """Return the service."""
    for name in ("SENTRY_DSN", "SENTRY_ENVIRONMENT", "SENTRY_RELEASE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sentry_logging, "_IGNORED_LOGGERS", set(sentry_logging._IGNORED_LOGGERS))
    with Sentry() as sink:
        yield sink
        sink.holds.clear()
        sentry_sdk.get_client().close(timeout=0)
        sentry_sdk.get_global_scope().set_client(None)


@pytest.fixture
def started(sentry: Sentry) -> Callable[..., SentryReporter]:
    """Return a function that returns a reporter at work in this process."""

    def start(*, send_arguments: bool = False, **settings: Any) -> SentryReporter:
        reporter = SentryReporter(**({"dsn": sentry.dsn, "auto_enabling_integrations": False} | settings))
        reporter.send_arguments, reporter.secrets, reporter.cluster = send_arguments, [KEY], "shop"
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
    sentry: Sentry, backend: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[App, Cluster]]]:
    """Return a function that starts a cluster that reports to the service, and a producer for it."""
    common = {"max_attempts": 1, "secret_key": KEY, "log_level": "WARNING", **backend}
    with clusters(tmp_path, monkeypatch, "sentry_tasks", TASKS, **common) as begin:

        def start(reporter: dict[str, Any], **settings: Any) -> tuple[App, Cluster]:
            # Whatever the tests of other packages need would be imported for its integration.
            given = {"dsn": sentry.dsn, "auto_enabling_integrations": False, **reporter}
            return begin(**({"error_reporter": {"log": {}, "sentry": given}} | settings))

        yield start
