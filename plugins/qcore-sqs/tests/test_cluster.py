"""Clusters on SQS with results in SQLite."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: seconds a result is waited for; the machine may be busy
TIMEOUT = 100.0
#: the example of Django-Q's documentation
EXAMPLE = {
    "name": "SQSExample",
    "workers": 4,
    "timeout": 60,
    "retry": 90,
    "queue_limit": 100,
    "bulk": 5,
    "sqs": {
        "aws_region": "us-east-1",
        "aws_access_key_id": "ac-Idr.....YwflZBaaxI",
        "aws_secret_access_key": "500f7b....b0f302e9",
    },
}
TASKS = """
import os, signal, time


def double(number):
    return 2 * number


def fall(path, times=1):
    with open(path, "a") as file:
        file.write(f"{time.time()}\\n")
    if len(open(path).readlines()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def fail(path):
    with open(path, "a") as file:
        file.write("once more\\n")
    raise ValueError("no luck")


def sleep(seconds, path=os.devnull):
    open(path, "w").close()
    time.sleep(seconds)
    return os.getpid()
"""


#: a worker takes no batch for one that took too long, so its size is not that of a fast machine
UNHURRIED = """
from qcore.workers import prefetch, worker

prefetch.TARGET = worker.TARGET = 10**15
"""


@pytest.fixture
def config(tmp_path: Path, sqs: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Return a factory of configurations: Django-Q's example with the test's server."""
    (tmp_path / "sqs_tasks.py").write_text(TASKS)
    (tmp_path / "unhurried.py").write_text(UNHURRIED)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", sqs.url)

    def make(**settings: Any) -> Config:
        rest = {"secret_key": "the key of these tests, not of anybody else", "log_level": "WARNING"}
        return Config.from_dict(EXAMPLE | rest | settings)

    return make


@pytest.fixture
def running(config: Callable[..., Config]) -> Iterator[Callable[..., App]]:
    """Return a function that starts a cluster and returns a producer for it."""
    apps: list[App] = []
    clusters: list[Cluster] = []

    def start(**settings: Any) -> App:
        apps.append(App(config(**settings)))
        clusters.append(Cluster(config(**settings)))
        clusters[-1].start()
        return apps[-1]

    yield start
    for cluster in clusters:
        cluster.stop(timeout=5)
    for app in apps:
        app.close()


def test_the_example_of_django_q_runs(running: Callable[..., App]) -> None:
    """The example runs unchanged; results are stored in SQLite."""
    app = running()
    jobs = [app.enqueue("sqs_tasks.double", number) for number in range(20)]

    assert [job.result(wait=TIMEOUT) for job in jobs] == [2 * number for number in range(20)]


def test_a_killed_worker_s_task_runs_again_at_once(running: Callable[..., App], tmp_path: Path) -> None:
    """The supervisor releases the task, so nobody waits for the lease to expire."""
    app = running(workers=1)
    path = tmp_path / "witness"

    found = app.enqueue("sqs_tasks.fall", str(path)).fetch(TIMEOUT)

    first, second = map(float, path.read_text().splitlines())
    assert found is not None
    assert (found.state, found.crashes) == (State.SUCCESS, 1)
    assert second - first < 20


def test_a_task_that_kills_its_workers_is_dead_lettered(
    running: Callable[..., App], tmp_path: Path, until: Callable[..., Any]
) -> None:
    """Crashes are counted although another process settles the message."""
    app = running(workers=1, max_crashes=2)
    path = tmp_path / "witness"
    job = app.enqueue("sqs_tasks.fall", str(path), times=99)

    (letter,) = until(lambda: _dead_letters(app))

    assert len(path.read_text().splitlines()) == 2
    found = job.fetch(TIMEOUT)
    assert found is not None
    assert (found.state, found.crashes) == (State.FAILED, 2)
    assert "crashed its worker 2 times" in letter.reason


def test_failures_are_counted(running: Callable[..., App], tmp_path: Path, until: Callable[..., Any]) -> None:
    """A task runs `max_attempts` times and is then dead-lettered."""
    app = running(workers=1, retry=2, timeout=1, max_attempts=2)
    path = tmp_path / "witness"
    app.enqueue("sqs_tasks.fail", str(path))

    (letter,) = until(lambda: _dead_letters(app))

    assert len(path.read_text().splitlines()) == 2
    assert "attempt 2" in letter.reason


def test_a_task_longer_than_its_lease_runs_once(running: Callable[..., App], sqs: Any) -> None:
    """The lease is extended while the worker lives."""
    app = running(workers=2, retry=3, timeout=30)
    job = app.enqueue("sqs_tasks.sleep", 7)

    found = job.fetch(TIMEOUT)

    assert found is not None
    assert (found.state, found.attempts) == (State.SUCCESS, 1)
    assert sqs.asked()["ChangeMessageVisibilityBatch"] >= 2


def test_a_cluster_continues_after_throttling(running: Callable[..., App], sqs: Any) -> None:
    """Throttled requests are repeated and no task is lost."""
    app = running(workers=2)
    app.enqueue("sqs_tasks.double", 1).result(wait=TIMEOUT)
    sqs.tell(throttle={"ReceiveMessage": 8, "DeleteMessageBatch": 4})
    jobs = [app.enqueue("sqs_tasks.double", number) for number in range(10)]

    assert sum(job.result(wait=TIMEOUT) for job in jobs) == 90


def test_a_stopped_worker_releases_its_messages(
    config: Callable[..., Config], until: Callable[..., Any], tmp_path: Path
) -> None:
    """A stop costs no task an attempt, and nobody waits for a lease to expire."""
    app, began = App(config()), tmp_path / "began"
    with Cluster(config(workers=1, shutdown_timeout=0.2)):
        job = app.enqueue("sqs_tasks.sleep", 60, str(began))
        until(began.exists)
    with app.runtime.brokers.connection() as broker:
        (found,) = broker.lease(1, TIMEOUT)

    assert (found.deliveries, found.failures, found.crashes) == (1, 0, 0)
    assert job.fetch() is None
    app.close()


def test_a_drain_takes_about_a_fifth_of_a_request_for_each_task(
    config: Callable[..., Config], sqs: Any, until: Callable[..., Any]
) -> None:
    """A worker begins with one message, then leases as many as SQS allows."""
    settings = {"workers": 1, "bulk": 10, "recycle": 0, "save_limit": -1, "preload": ["unhurried"]}
    app = App(config(**settings))
    double = app.task(importlib.import_module("sqs_tasks").double)
    app.enqueue_many([double.bind(number) for number in range(400)])
    with Cluster(config(**settings)) as cluster:
        # the server is not asked for its progress, because that would be most of its work
        until(lambda: cluster.status().finished == 400)
        until(lambda: (app.queue.size().ready, app.queue.size().leased) == (0, 0))
        asked = sqs.asked()

    spent = asked["ReceiveMessage"] + asked["DeleteMessageBatch"]
    assert spent / 400 <= 0.23
    app.close()


def _dead_letters(app: App) -> Any:
    with app.runtime.brokers.connection() as broker:
        return broker.dead_letters()
