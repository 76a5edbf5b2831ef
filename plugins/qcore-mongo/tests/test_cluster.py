"""Clusters on a standalone server and on a replica set, with killed processes."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config, State
from qcore.model import QueueSize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.chaos

TASKS = """
import os, signal, time


def pid():
    return os.getpid()


def witness(path, die=False):
    with open(path, "a") as file:
        file.write(f"{time.time()}\\n")
    if die and len(open(path).readlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def record(path, number, seconds=0.0):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, b"%d\\n" % number)
    os.close(fd)
    time.sleep(seconds)
    return number
"""
#: seconds of a lease, after which the messages of killed processes are redelivered
LEASE = 2.0
#: seconds any one condition is given
TIMEOUT = 100.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return the value of `condition` as soon as it is true."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting after {TIMEOUT:g} seconds for {what}"
        time.sleep(0.01)
    return found


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the tasks to a module that workers can import."""
    (tmp_path / "mongo_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.fixture
def config(tasks: None, database: str) -> Callable[..., Config]:
    """Return a factory of configurations of one queue."""
    del tasks

    def make(land: Any, **settings: Any) -> Config:
        table = {
            "name": "land",
            "workers": 2,
            "secret_key": "the key of these tests, not of anybody else",
            "log_level": "ERROR",
            "shutdown_timeout": 5,
            "retry": LEASE,
            "max_crashes": 0,
            "save_limit": 0,
            "mongo": land.settings,
            "mongo_db": database,
        }
        return Config.from_dict(table | settings)

    return make


@pytest.fixture
def both(land: Any, config: Callable[..., Config]) -> Iterator[tuple[App, Cluster]]:
    """Return a producer and a running cluster."""
    made = config(land)
    app, cluster = App(made), Cluster(made)
    cluster.start()
    yield app, cluster
    cluster.stop(timeout=5)
    app.close()
    with land.client() as client:
        client.drop_database(made.settings().section("mongo_db"))


def runs(path: Path) -> Counter[int]:
    """Return how often each task has run."""
    return Counter(map(int, path.read_text().split())) if path.exists() else Counter()


def pids(cluster: Cluster, state: str = "") -> list[int]:
    """Return the workers that are in this state, or all."""
    return [one.pid for one in cluster.status().workers if one.pid and (not state or one.state == state)]


def judge(app: App, jobs: list[Any], path: Path) -> None:
    """Check that each accepted task ran and has its result, and that the queue is empty."""
    found = [job.fetch(TIMEOUT) for job in jobs]

    assert {State.SUCCESS} == {one and one.state for one in found}
    assert list(range(len(jobs))) == [one and one.value for one in found]
    assert set(range(len(jobs))) == set(runs(path))
    empty = QueueSize(ready=0, leased=0, delayed=0, dead_letters=0)
    until(lambda: app.queue.size() == empty, "an empty queue")


def test_results_end_waits(both: tuple[App, Cluster]) -> None:
    """A wait for a result ends soon after the task has run."""
    app, _ = both
    jobs = [app.enqueue("mongo_tasks.pid") for _ in range(50)]

    assert all(isinstance(job.result(wait=TIMEOUT), int) for job in jobs)
    since = time.monotonic()
    app.enqueue("mongo_tasks.pid").result(wait=TIMEOUT)
    assert time.monotonic() - since < 10


def test_a_killed_worker_s_task_runs_again_at_once(both: tuple[App, Cluster], tmp_path: Path) -> None:
    """The task runs again before the lease expires."""
    app, _ = both
    path = tmp_path / "witness"

    found = app.enqueue("mongo_tasks.witness", str(path), die=True).fetch(TIMEOUT)

    assert found is not None
    assert found.state is State.SUCCESS
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.early
def test_killed_workers_lose_nothing(both: tuple[App, Cluster], tmp_path: Path) -> None:
    """Each kill loses at most the run that it interrupted."""
    app, cluster = both
    path, kills = tmp_path / "witness", 4
    jobs = [app.enqueue("mongo_tasks.record", str(path), number, 0.01) for number in range(300)]
    for turn in range(kills):
        goal = (turn + 1) * 30
        until(lambda: len(runs(path)) >= goal, "progress")  # noqa: B023 - used at once
        victim = until(
            lambda: next((one.pid for one in cluster.status().workers if one.state == "busy"), None),
            "a worker",
        )
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in pids(cluster), "his end")  # noqa: B023 - as above

    judge(app, jobs, tmp_path / "witness")

    assert runs(path).total() <= len(jobs) + kills


def test_a_killed_supervisor_loses_nothing(land: Any, config: Callable[..., Config], tmp_path: Path) -> None:
    """The next cluster runs the workers' tasks once their leases have expired."""
    path, made = tmp_path / "witness", config(land)
    app, cluster = App(made), Cluster(made)
    cluster.start()
    jobs = [app.enqueue("mongo_tasks.record", str(path), number, 0.005) for number in range(100)]
    until(lambda: len(runs(path)) >= 20, "progress")
    assert cluster.pid is not None
    os.kill(cluster.pid, signal.SIGKILL)
    assert cluster.wait(20)

    with Cluster(made):
        judge(app, jobs, path)
    cluster.stop(timeout=0)
    app.close()


def test_a_killed_server_loses_nothing(own: Any, config: Callable[..., Config], tmp_path: Path) -> None:
    """A replica set keeps accepted tasks although all members are killed; workers wait for it."""
    path, made = tmp_path / "witness", config(own)
    app = App(made)
    with Cluster(made) as cluster:
        jobs = [app.enqueue("mongo_tasks.record", str(path), number, 0.005) for number in range(200)]
        until(lambda: len(runs(path)) >= 20, "progress")
        own.nodes[0].kill()
        assert own.nodes[0].start()

        judge(app, jobs, path)
        assert cluster.status().state in ("idle", "working")
    app.close()


def test_a_slot_fires_once_for_two_clusters(
    both: tuple[App, Cluster], land: Any, config: Callable[..., Config], tmp_path: Path
) -> None:
    """The queue and the schedules are in one database, so a slot is fired atomically."""
    app, _ = both
    path = tmp_path / "witness"
    start = int(time.time()) - 3

    with Cluster(config(land)):
        app.schedules.create(
            "mongo_tasks.witness",
            str(path),
            name="tick",
            every=timedelta(seconds=1),
            next_run=start,
            repeats=6,
        )
        until(lambda: path.exists() and len(path.read_text().splitlines()) >= 6, "six slots")
        (done,) = app.schedules.list()

    assert done.repeats == 0
    assert app.queue.size().ready == 0
    assert len(path.read_text().splitlines()) == 6


@pytest.mark.early
def test_tasks_run_while_primaries_change(three: Any, config: Callable[..., Config], tmp_path: Path) -> None:
    """A primary steps down, then one is killed: no accepted task is lost, and no worker is restarted."""
    path, made = tmp_path / "witness", config(three)
    numbers = itertools.count()
    app, jobs = App(made), []

    def send(count: int) -> None:
        # errors after which the driver repeats the command itself are not seen here
        jobs.extend(
            app.enqueue("mongo_tasks.record", str(path), number, 0.002)
            for number in itertools.islice(numbers, count)
        )

    with Cluster(made) as cluster:
        send(60)
        before = until(lambda: pids(cluster), "workers")
        for harm in (three.step_down, lambda: three.primary().kill()):
            goal = len(jobs) - 40
            until(lambda: len(runs(path)) >= goal, "progress")  # noqa: B023 - used at once
            harm()
            send(60)

        judge(app, jobs, path)
        assert before == pids(cluster)
    app.close()
