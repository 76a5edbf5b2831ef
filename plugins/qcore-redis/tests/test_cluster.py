"""Real clusters on a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TASKS = """
import os, signal, time


if off := float(os.environ.get("OFF", "0")):
    right, right_ns = time.time, time.time_ns
    time.time, time.time_ns = lambda: right() + off, lambda: right_ns() + int(off * 1e9)


def pid():
    return os.getpid()


def witness(path, die=False):
    with open(path, "a") as file:
        file.write(f"{time.time()}\\n")
    if die and len(open(path).readlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"
"""


@pytest.fixture
def config(tmp_path: Path, own: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Return a maker of configurations of one queue on a server of its own."""
    (tmp_path / "redis_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(**settings: Any) -> Config:
        table = {
            "name": "land",
            "workers": 2,
            "secret_key": "the key of these tests, not of anybody else",
            "log_level": "WARNING",
            "shutdown_timeout": 5,
            "redis": {"unix_socket_path": own.path},
        }
        return Config.from_dict(table | settings)

    return make


@pytest.fixture
def both(config: Callable[..., Config]) -> Iterator[tuple[App, Cluster]]:
    """Return a producer and a running cluster."""
    app, cluster = App(config()), Cluster(config())
    cluster.start()
    yield app, cluster
    cluster.stop(timeout=5)
    app.close()


def test_tasks_run_and_their_results_wake(both: tuple[App, Cluster]) -> None:
    """A result comes as soon as the task has run."""
    app, _ = both
    jobs = [app.enqueue("redis_tasks.pid") for _ in range(50)]

    assert all(isinstance(job.result(wait=100), int) for job in jobs)
    since = time.monotonic()
    app.enqueue("redis_tasks.pid").result(wait=100)
    assert time.monotonic() - since < 10


def test_a_killed_worker_s_task_runs_again_at_once(config: Callable[..., Config], tmp_path: Path) -> None:
    """Nobody has to wait for a lease to end: this one would be over after the test."""
    path = tmp_path / "witness"

    with closing(App(config(retry=3600))) as app, Cluster(config(retry=3600)):
        found = app.enqueue("redis_tasks.witness", str(path), die=True).fetch(100)

    assert len(path.read_text().splitlines()) == 2
    assert found is not None
    assert found.state is State.SUCCESS


def test_a_cluster_goes_on_when_redis_is_back(both: tuple[App, Cluster], own: Any) -> None:
    """Workers wait for a server that was killed; nothing accepted is lost."""
    app, cluster = both
    before = app.enqueue("redis_tasks.pid").result(wait=100)
    jobs = [app.enqueue("redis_tasks.pid") for _ in range(20)]
    own.kill(signal.SIGKILL)
    own.start()

    app.close()
    again = [job.fetch(45) for job in jobs]

    assert before
    assert all(found is not None and found.state is State.SUCCESS for found in again)
    assert cluster.status().state in ("idle", "working")
    assert os.getpid() not in {worker.pid for worker in cluster.status().workers}


def test_a_slot_fires_once_for_two_clusters(
    both: tuple[App, Cluster], config: Callable[..., Config], tmp_path: Path
) -> None:
    """Queue and schedules lie on one server: what fires is enqueued in one step."""
    app, _ = both
    path = tmp_path / "witness"
    start = int(time.time()) - 3

    with Cluster(config()):
        app.schedules.create(
            "redis_tasks.witness",
            str(path),
            name="tick",
            every=timedelta(seconds=1),
            next_run=start,
            repeats=6,
        )
        end = time.monotonic() + 100
        while not (path.exists() and len(path.read_text().splitlines()) >= 6):
            assert time.monotonic() < end
            time.sleep(0.02)
        (done,) = app.schedules.list()

    assert done.repeats == 0
    assert app.queue.size().ready == 0
    assert len(path.read_text().splitlines()) == 6


WRONG = """
import sys, time

right, right_ns, off = time.time, time.time_ns, float(sys.argv[1])
time.time, time.time_ns = lambda: right() + off, lambda: right_ns() + int(off * 1e9)

from qcore import App, Config

redis = {{"unix_socket_path": {path!r}}}
app = App(Config.from_dict({{"name": "land", "secret_key": {secret!r}, "redis": redis}}))
job = app.send([app.task(name="redis_tasks.pid")(__import__("redis_tasks").pid).using(expires=600.0).bind()])
app.schedules.create("redis_tasks.pid", name="tick", every=7200)
print(job[0].id)
"""


def test_a_worker_with_a_wrong_clock_lets_nothing_expire(
    config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock is an hour ahead, and a job that expires in ten minutes is run; one that is late is not."""
    monkeypatch.setenv("OFF", "3600")
    app = App(config())
    task = app.task(name="redis_tasks.pid")(os.getpid)
    jobs = app.enqueue_many(task.using(expires=seconds).bind() for seconds in (0.001, *[600.0] * 40))

    with Cluster(config(preload=["redis_tasks"])):
        found = [app.results.fetch(job.id, 90.0) for job in jobs]

    assert [one.kind for one in found] == ["expired", *["success"] * 40]
    app.close()


@pytest.mark.parametrize("off", [-3600, 3600])
def test_a_producer_with_a_wrong_clock_loses_nothing(
    both: tuple[App, Cluster], config: Callable[..., Config], own: Any, off: int
) -> None:
    """What it enqueues expires by the server's clock, and what it schedules for now is fired now."""
    app, _ = both
    code = WRONG.format(secret="the key of these tests, not of anybody else", path=own.path)
    made = subprocess.run(
        [sys.executable, "-c", code, str(off)], capture_output=True, text=True, check=True, timeout=120
    )

    assert app.results.fetch(made.stdout.strip(), 90.0).state is State.SUCCESS
    # once it has fired, the next slot is two hours from now; by the producer's clock it would be one or three
    end = time.monotonic() + 90
    while not 5400 < (away := app.schedules.get("tick").next_run - time.time()) < 9000:
        assert time.monotonic() < end, f"the next slot is {away:.0f} s away"
        time.sleep(0.05)
