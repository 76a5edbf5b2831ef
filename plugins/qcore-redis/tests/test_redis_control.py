"""Cancelling tasks, asking for their status, pausing: clusters on a real server."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config, Progress, QueueSize, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TASKS = """
import asyncio, collections, itertools, os, time

from qcore import progress


def note(path):
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{time.time()}\\n".encode())
    os.close(file)


def time_unit(path):
    note(path)
    time.sleep(0.005)


def pass_gate(path):
    time_unit(path)
    while os.path.getsize(path) > 2000 and not os.path.exists(path + ".open"):
        time.sleep(0.01)


def fail(path):
    note(path)
    raise RuntimeError("no")


def nap(path):
    note(path)
    progress(1, 3, "asleep")
    time.sleep(60)


async def wait(path):
    note(path)
    await asyncio.sleep(60)


def burn(path):
    note(path)
    collections.deque(itertools.repeat(1), maxlen=0)


def stubborn(path):
    note(path)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            note(path + ".told")
"""

EMPTY = QueueSize(ready=0, leased=0, delayed=0, dead_letters=0)
TIMEOUT = 100.0


def until(condition: Callable[[], Any]) -> Any:
    """Return what `condition` returns as soon as that is true in the sense of `if`."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, condition
        time.sleep(0.01)
    return found


def lines(path: Path) -> list[float]:
    """Return the times that tasks have noted."""
    return [float(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def land(tmp_path: Path, own: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Yield a maker of producers with a cluster, or without."""
    (tmp_path / "redis_steered.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made: list[Any] = []

    def make(*, started: bool = True, **settings: Any) -> tuple[App, Cluster]:
        table = {
            "name": "steered",
            "workers": 2,
            "secret_key": "the key of these tests, not of anybody else",
            "log_level": "WARNING",
            "shutdown_timeout": 5,
            "redis": {"unix_socket_path": own.path},
        }
        config = Config.from_dict(table | settings)
        app, cluster = App(config), Cluster(config)
        made.append((app, cluster))
        if started:
            cluster.start()
        return app, cluster

    yield make
    for app, cluster in made:
        cluster.stop(timeout=0)
        app.close()


def ended(app: App, job: Any) -> bool:
    """Whether a task was cancelled for good, and nothing is left of its message."""
    result = job.fetch(TIMEOUT)
    assert (State.FAILED, "cancelled") == (result.state, result.kind), result
    until(lambda: app.queue.size() == EMPTY)
    return True


@pytest.mark.parametrize("delay", [0.0, 3600.0])
def test_a_waiting_task_is_taken_out_of_the_queue(land: Callable[..., Any], delay: float) -> None:
    """Whether it is ready or delayed."""
    app, _ = land(started=False)
    job = app.task(print).using(delay=delay).enqueue("never")

    assert job.cancel()

    assert ended(app, job)
    assert (job.status().state, job.cancel()) == ("cancelled", False)


def test_a_task_that_waits_for_another_attempt_is_cancelled(land: Callable[..., Any], tmp_path: Path) -> None:
    """It is out of the queue when the call returns."""
    app, _ = land(retry=60, timeout=30)
    job = app.enqueue("redis_steered.fail", str(tmp_path / "w"))
    until(lambda: app.queue.size().delayed == 1)

    assert job.cancel()

    assert ended(app, job)
    assert len(lines(tmp_path / "w")) == 1


@pytest.mark.parametrize("task", ["nap", "wait", "burn", "stubborn"])
def test_a_running_task_is_ended(land: Callable[..., Any], tmp_path: Path, task: str) -> None:
    """By the exception or by the end of its worker; its neighbours run once."""
    app, _ = land()
    neighbours = [app.task(os.getpid).bind() for _ in range(30)]
    hanging = app.enqueue(f"redis_steered.{task}", str(tmp_path / "w"))
    jobs = app.enqueue_many(neighbours)
    until(lambda: lines(tmp_path / "w"))

    assert hanging.cancel()

    assert ended(app, hanging)
    assert all((job.result(TIMEOUT), job.fetch().attempts)[1] == 1 for job in jobs)
    assert len(lines(tmp_path / "w")) == 1


def test_a_worker_killed_while_it_ends_a_task_does_not_bring_it_back(
    land: Callable[..., Any], tmp_path: Path
) -> None:
    """However the worker dies: the task was to end, and has."""
    app, cluster = land(workers=1)
    job = app.enqueue("redis_steered.stubborn", str(tmp_path / "w"))
    until(lambda: lines(tmp_path / "w"))

    assert job.cancel()
    until(lambda: lines(tmp_path / "w.told"))
    os.kill(cluster.status().workers[0].pid, signal.SIGKILL)

    assert ended(app, job)
    assert len(lines(tmp_path / "w")) == 1


def test_a_running_task_is_seen_with_its_progress(land: Callable[..., Any], tmp_path: Path) -> None:
    """Queued, running by whom, and cancelled in the end."""
    app, cluster = land(started=False, workers=1)
    job = app.enqueue("redis_steered.nap", str(tmp_path / "w"))
    assert (job.status().state, app.status("ab" * 16).state) == ("queued", "unknown")
    cluster.start()

    found = until(lambda: (seen := job.status()).progress and seen)

    assert (found.state, found.progress) == ("running", Progress(done=1.0, total=3.0, note="asleep"))
    assert found.worker.endswith(f":{cluster.status().workers[0].pid}")
    job.cancel()
    assert ended(app, job)
    assert app.status("ab" * 16).state == "unknown"


def test_nothing_begins_while_the_queue_is_paused(land: Callable[..., Any], tmp_path: Path) -> None:
    """Neither on the cluster that works nor on one that starts."""
    app, cluster = land(workers=4, save_limit=0)
    path = tmp_path / "w"
    jobs = [app.enqueue("redis_steered.pass_gate", str(path)) for _ in range(1000)]
    until(lambda: len(lines(path)) > 50)

    # some have run; the others that have begun end only when the cluster has heard of the pause
    app.queue.pause()
    until(lambda: cluster.status().paused)
    (tmp_path / "w.open").touch()
    until(lambda: app.queue.size().leased == 0)
    done = len(lines(path))
    _, other = land(workers=2, save_limit=0)
    until(lambda: other.status().paused)
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 2)

    assert done == len(lines(path)) < 1000
    app.queue.resume()
    assert all(job.fetch(TIMEOUT).attempts == 1 for job in jobs)
    assert len(lines(path)) == 1000
