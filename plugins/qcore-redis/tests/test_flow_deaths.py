"""Chains, callbacks and limits on a real server, which dies meanwhile."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config
from qcore.model import QueueSize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TASKS = """
import os, time


def note(path, text):
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{text}\\n".encode())
    os.close(file)


def step(before, path, text):
    note(path, f"{before}{text}")
    time.sleep(0.005)
    return f"{before}{text}"


def member(path, number):
    note(path, f"member {number}")
    time.sleep(0.005)
    return number


def total(numbers, path, group):
    note(path, f"group {group}")
    return sum(numbers)


def alone(path):
    note(path, "in")
    time.sleep(0.02)
    note(path, "out")
"""

EMPTY = QueueSize(ready=0, leased=0, delayed=0, dead_letters=0)
#: A message whose lease was granted as the server died comes back when that lease ends.
RETRY = 20.0
TIMEOUT = 5 * RETRY


def until(condition: Callable[[], Any]) -> Any:
    """Return what `condition` returns as soon as that is true in the sense of `if`."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, condition
        time.sleep(0.01)
    return found


def lines(path: Path) -> list[str]:
    """Return what tasks have noted."""
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def land(
    tmp_path: Path, lasting: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[App, Cluster]]]:
    """Yield a maker of producers with a running cluster, on a server of each kind in turn."""
    (tmp_path / "redis_flow_deaths.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made: list[tuple[App, Cluster]] = []

    def make() -> tuple[App, Cluster]:
        table = {
            "name": "flows",
            "workers": 2,
            "secret_key": "the key of these tests, not of anybody else",
            "log_level": "ERROR",
            "shutdown_timeout": 5,
            "save_limit": 0,
            "retry": RETRY,
            "redis": {"unix_socket_path": lasting.path},
        }
        config = Config.from_dict(table)
        made.append((App(config), Cluster(config)))
        made[-1][1].start()
        return made[-1]

    yield make
    for app, cluster in made:
        cluster.stop(timeout=0)
        app.close()
    lasting.kill()


def begin(app: App, path: Path) -> tuple[list[Any], list[Any]]:
    """Enqueue chains of four and groups of eight with a callback."""
    tasks = "redis_flow_deaths"
    chains = [
        app.chain(
            [
                (f"{tasks}.step", (f"c{number} ", str(path), "a")),
                *[(f"{tasks}.step", (str(path), text)) for text in "bcd"],
            ],
            pipe_result=True,
        )
        for number in range(20)
    ]
    groups = [
        app.group([(f"{tasks}.member", (str(path), number)) for number in range(8)]).then(
            (f"{tasks}.total", (str(path), group))
        )
        for group in range(10)
    ]
    return chains, groups


@pytest.mark.chaos
def test_flows_outlive_the_server_and_run_each_part_once(
    land: Callable[..., tuple[App, Cluster]], lasting: Any, tmp_path: Path
) -> None:
    """A server that dies in the middle again and again costs no step, and doubles none."""
    app, _ = land()
    path = tmp_path / "witness"
    chains, groups = begin(app, path)
    for goal in (20, 50, 80, 110):
        until(lambda: len(lines(path)) >= goal)  # noqa: B023 - used at once
        lasting.kill()
        lasting.start()
    app.close()

    assert [chain.result(wait=TIMEOUT) for chain in chains] == [f"c{number} abcd" for number in range(20)]
    assert [group.result(wait=TIMEOUT) for group in groups] == [28] * 10
    until(lambda: app.queue.size() == EMPTY)
    runs = Counter(lines(path))
    assert [runs[f"member {number}"] for number in range(8)] == [10] * 8
    assert {count for text, count in runs.items() if not text.startswith("member")} == {1}
    assert runs.total() == 20 * 4 + 10 * 9


def test_a_limit_holds_for_two_clusters(land: Callable[..., tuple[App, Cluster]], tmp_path: Path) -> None:
    """Of tasks that may only run alone, none begins before the other has ended."""
    app, _ = land()
    land()
    path = tmp_path / "witness"
    alone = app.task(importlib.import_module("redis_flow_deaths").alone).using(concurrency=1)
    jobs = [alone.enqueue(str(path)) for _ in range(8)]

    assert all(job.fetch(TIMEOUT) for job in jobs)
    assert lines(path) == ["in", "out"] * 8


def test_nothing_of_a_flow_is_left(
    land: Callable[..., tuple[App, Cluster]], lasting: Any, tmp_path: Path
) -> None:
    """Once all have ended there are results, and what expires by itself."""
    app, cluster = land()
    chains, groups = begin(app, tmp_path / "witness")
    assert all(flow.result(wait=TIMEOUT) for flow in (*chains, *groups))
    until(lambda: app.queue.size() == EMPTY)
    cluster.stop(timeout=100)

    with lasting.client() as client:
        # a time is part of some names, and not as a text
        keys = {key.decode("latin-1").partition("}:")[2]: client.ttl(key) for key in client.keys("*")}
    assert {key for key, seconds in keys.items() if seconds < 0} <= {"r", "s", "n", "u"}
