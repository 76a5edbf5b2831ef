"""What a site has beside its broker goes on to count: LOGGING, reporters, pickle, commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Site

pytestmark = pytest.mark.slow

SETTINGS = """
Q_CLUSTER |= {
    "ack_failures": True,
    "serializer": "pickle",
    "accept_serializers": ["pickle", "msgpack"],
    "error_reporter": {"old": {"path": str(BASE_DIR / "reported")}},
}
LOGGING = {
    "version": 1,
    "formatters": {"ours": {"format": "OURS %(name)s %(message)s"}},
    "handlers": {
        "file": {"class": "logging.FileHandler", "filename": BASE_DIR / "site.log", "formatter": "ours"}
    },
    "loggers": {"qcore": {"handlers": ["file"], "level": "INFO", "propagate": False}},
}
"""
REPORTER = """
import sys


class Old:
    def __init__(self, path):
        self.path = path

    def report(self):
        with open(self.path, "a") as file:
            file.write(repr(sys.exc_info()[1]) + "\\n")
"""
TASKS = """

@task
def title_of(order):
    return order.title, order.gift


@task
def fail(text):
    raise ValueError(text)
"""
PROGRAM = """
order = Order.objects.create(title="in the database")
order.title, order.gift = "not saved", {"a", "set"}
title, gift = title_of.enqueue(order).result(wait=60)
failed = fail.enqueue("no luck")
deadline = time.monotonic() + 60
while failed.fetch() is None and time.monotonic() < deadline:
    time.sleep(0.05)
answer = [title, sorted(gift), failed.fetch().success]
"""


@pytest.fixture
def moved(site: Site) -> Site:
    """Return a site with settings, a reporter of Django-Q's kind and pickle."""
    pytest.importorskip("qcore_pickle")
    with (site.folder / "mysite" / "settings.py").open("a") as file:
        file.write(SETTINGS)
    with (site.folder / "shop" / "tasks.py").open("a") as file:
        file.write(TASKS)
    (site.folder / "old_reporter.py").write_text(REPORTER)
    info = site.folder / "old_reporter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: old-reporter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[djangoq.errorreporters]\nold = old_reporter:Old\n")
    return site


def test_a_site_keeps_what_it_had(moved: Site) -> None:
    """Objects travel whole by pickle, an old reporter hears of a failure, LOGGING has the lines."""
    with moved.running():
        assert moved.ask(PROGRAM) == ["not saved", ["a", "set"], False]
        memory = moved.manage("qmemory", "--workers")
        once = moved.manage("qmemory", "--run-once")
        watched = moved.manage("qmonitor", "--run-once")

    assert "SLOT" in memory
    assert len(memory.splitlines()) == 2
    assert "SUPERVISOR" in once
    assert "1 success, 1 failed" in watched
    assert (moved.folder / "reported").read_text() == "ValueError('no luck')\n"
    log = (moved.folder / "site.log").read_text()
    assert "OURS qcore.cluster cluster site is ready" in log
    assert "no luck" in log
    assert (moved.folder / "cluster.log").read_text() == ""
