"""A queue whose broker and results are elsewhere, coordinated by Redis alone."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TIMEOUT = 100.0
TASKS = """
import os, time


def alone(path):
    os.close(os.open(path + ".inside", os.O_CREAT | os.O_EXCL))
    time.sleep(0.02)
    os.unlink(path + ".inside")


def double(number):
    return 2 * number


def total(numbers):
    return sum(numbers)
"""


def until(condition: Callable[[], Any]) -> None:
    """Wait until `condition` is true."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.01)


@pytest.fixture
def app(tmp_path: Path, own: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Yield a producer of a spool in a folder, with results in SQLite, and its running cluster."""
    (tmp_path / "coordinated.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = Config.from_dict(
        {
            "name": "coordinated",
            "workers": 2,
            "secret_key": "the key of these tests, not of anybody else",
            "log_level": "WARNING",
            "poll": 0.05,
            "spool": {"path": str(tmp_path)},
            "sqlite": {"path": str(tmp_path / "results.db")},
            "redis": {"unix_socket_path": own.path},
            "result_store": "sqlite",
            "coordination_store": "redis",
        }
    )
    app = App(config)
    with Cluster(config).start():
        yield app
    app.close()


def test_limits_fan_in_and_pauses_are_kept_in_redis(app: App, own: Any, tmp_path: Path) -> None:
    """All of them work, and only they are in Redis: neither messages nor results are."""
    coordinated = importlib.import_module("coordinated")
    one_at_a_time = app.task(coordinated.alone).using(concurrency=1)
    jobs = [one_at_a_time.enqueue(str(tmp_path / "door")) for _ in range(8)]
    callback = app.group([(coordinated.double, (number,)) for number in range(5)]).then(coordinated.total)
    unique = app.task(coordinated.double).using(unique="once", delay=60)

    assert callback.result(wait=TIMEOUT) == 20
    assert [job.result(wait=TIMEOUT) for job in jobs] == [None] * 8
    assert [unique.enqueue(1).duplicate for _ in range(2)] == [False, True]
    app.queue.pause()
    with own.client() as client:
        kinds = {key.split(b":")[2] for key in client.scan_iter(b"{qcore:coordinated}:*")}
    assert b"m" in kinds
    assert not kinds & {b"q", b"r", b"s"}
    app.queue.resume()
    until(lambda: not app.queue.is_paused())
