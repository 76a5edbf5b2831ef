"""SIGKILL at any process, the server too, loses no task of any queue."""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import threading
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from qcore import App, Cluster, Config, State
from qcore.errors import BackendUnavailable
from qcore.model import QueueSize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore import Job

pytestmark = pytest.mark.chaos

TASKS = """
import os, time


def record(path, number, seconds):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, b"%d\\n" % number)
    os.close(fd)
    time.sleep(seconds)
    return number
"""
#: queues and priorities of the tasks in turn: every third is as one that names neither
ROUTES = (("default", 0), ("mail", 5), ("reports", 0), ("default", 0), ("mail", -5), ("reports", 5))
#: tasks that wait in the beginning, and seconds each takes
MANY, EACH = 400, 0.002
#: tasks that run between two kills
STEP = 20
#: seconds of a lease: what nobody could give back returns after this
LEASE = 1.0
#: seconds of a lease that is not to end while a loaded machine lets a worker wait
LONG_LEASE = 20.0
#: seconds any one condition is given
TIMEOUT = 100.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return what `condition` returns as soon as that is true in the sense of `if`."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting after {TIMEOUT:g} seconds for {what}"
        time.sleep(0.005)
    return found


class Scene:
    """One queue on one server, what it has accepted, and what works on it."""

    def __init__(self, server: Any, path: Path, lease: float = LEASE) -> None:
        self.server = server
        self.path = path
        #: number -> job of what was accepted
        self.jobs: dict[int, Job] = {}
        #: numbers of what may have been accepted
        self.unsure: set[int] = set()
        self._numbers = itertools.count()
        self._config = Config.from_dict(
            {
                "name": "land",
                "workers": 2,
                "secret_key": "the key of these tests, not of anybody else",
                "log_level": "ERROR",
                "shutdown_timeout": 5,
                "retry": lease,
                "max_crashes": 0,
                "save_limit": 0,
                "redis": {"unix_socket_path": server.path},
            }
        )
        self.app = App(self._config)
        record = self.app.task(importlib.import_module("chaos_tasks").record)
        self._sent = [record.using(queue=queue, priority=priority) for queue, priority in ROUTES]
        self.clusters: list[Cluster] = []

    @property
    def cluster(self) -> Cluster:
        """The cluster that was started last."""
        return self.clusters[-1]

    def start(self) -> None:
        """Start another cluster."""
        self.clusters.append(Cluster(self._config))
        self.cluster.start()

    def send(self, count: int = 1) -> None:
        """Enqueue tasks one by one, and keep in mind what became of each."""
        for number in itertools.islice(self._numbers, count):
            try:
                task = self._sent[number % len(self._sent)]
                self.jobs[number] = task.enqueue(str(self.path), number, EACH)
            except BackendUnavailable:
                self.unsure.add(number)

    def runs(self) -> Counter[int]:
        """Return how often each task has run."""
        return Counter(map(int, self.path.read_text().split())) if self.path.exists() else Counter()

    def progress(self) -> None:
        """Enqueue some tasks and wait until as many have run, be it these or others."""
        goal = len(self.runs()) + STEP
        self.send(STEP)
        until(lambda: len(self.runs()) >= goal, f"{goal} tasks to have run")

    def workers(self, state: str = "") -> list[int]:
        """Return the workers of the last cluster that are in this state."""
        return [
            one.pid for one in self.cluster.status().workers if one.pid and (not state or one.state == state)
        ]

    def busy(self) -> list[int]:
        """Return the workers that are in a task, and give them more to do if there is none."""
        found = self.workers("busy")
        if not found:
            self.send(STEP)
        return found

    def whole(self, *gone: int) -> list[int]:
        """Wait until two workers are there and those that were killed are not."""
        return list(
            until(lambda: (p := self.workers()) and len(p) == 2 and not set(p) & set(gone) and p, "workers")
        )

    def kill_cluster(self) -> None:
        """Kill the supervisor, wait for its workers' end and start the next."""
        workers = [psutil.Process(pid) for pid in self.workers()]
        assert self.cluster.pid is not None
        os.kill(self.cluster.pid, signal.SIGKILL)
        assert self.cluster.wait(10)
        assert not psutil.wait_procs(workers, timeout=10)[1]
        self.start()

    def drained(self) -> None:
        """Wait until nothing is ready, leased or delayed."""
        empty = QueueSize(ready=0, leased=0, delayed=0, dead_letters=0)
        until(lambda: self.app.queue.size() == empty, "the queue to be empty")

    def judge(self) -> None:
        """See that each accepted task ran and has one result, and that nothing else is left."""
        self.drained()
        assert [one.name for one in self.app.queue.list()] == ["default"]
        self.cluster.stop(timeout=100)
        runs = self.runs()
        with self.server.client() as client:
            results, successes = client.hlen("{qcore:land}:r"), client.llen("{qcore:land}:s")
            leases = client.keys("{qcore:land}:l:*")

        assert set(self.jobs) <= set(runs) <= set(self.jobs) | self.unsure
        found = [job.fetch() for job in self.jobs.values()]
        assert {State.SUCCESS} == {one and one.state for one in found}
        assert list(self.jobs) == [one and one.value for one in found]
        assert (len(runs), len(runs)) == (results, successes)
        assert leases == []


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, lasting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    """Return a queue that two workers work on, with leases of as long; nobody of it may be left behind."""
    mark = uuid.uuid4().hex
    (tmp_path / "chaos_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("MARK_OF_QCORE_TESTS", mark)
    # a process that was forked for the test shows the environment of whoever forked it
    monkeypatch.setenv("TEST_QCORE_NO_FORKS", "1")
    made = Scene(lasting, tmp_path / "witness", getattr(request, "param", LEASE))
    try:
        made.start()
        yield made
    finally:
        for cluster in made.clusters:
            cluster.stop(timeout=0)
        made.app.close()
        lasting.kill()
    until(lambda: not left_of(mark), "the processes of the test to end")


def left_of(mark: str) -> list[psutil.Process]:
    """Return the processes that descend from this test, orphans too."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get("MARK_OF_QCORE_TESTS") == mark
        except psutil.Error:
            continue
        if marked and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@pytest.mark.parametrize("scene", [LONG_LEASE], indirect=True)
def test_killed_idle_workers_cost_nothing(scene: Scene) -> None:
    """Whoever waits in the server holds nothing; what comes next runs once."""
    for turn in range(4):
        # what a worker says of itself is a little behind
        scene.drained()
        victim = until(lambda: len(p := scene.workers("idle")) == 2 and p, "idle workers")[turn % 2]
        os.kill(victim, signal.SIGKILL)
        scene.send(50)
        scene.whole(victim)

    scene.judge()

    assert {1} == set(scene.runs().values())


@pytest.mark.parametrize("scene", [LONG_LEASE], indirect=True)
def test_killed_busy_workers_lose_nothing(scene: Scene) -> None:
    """Each kill costs at most the run it fell into."""
    scene.send(MANY)
    kills = 4
    for _ in range(kills):
        scene.progress()
        victim = until(scene.busy, "a busy worker")[0]
        os.kill(victim, signal.SIGKILL)
        scene.whole(victim)

    scene.judge()

    assert scene.runs().total() <= len(scene.jobs) + kills


def test_killed_supervisors_lose_nothing(scene: Scene) -> None:
    """The next cluster runs what the workers held, once their leases are over."""
    scene.send(MANY)
    for _ in range(2):
        scene.progress()
        scene.kill_cluster()

    scene.judge()


def test_a_killed_server_loses_nothing(scene: Scene) -> None:
    """Workers and producers meet a server that dies again and again; what it accepted runs."""
    scene.send(100)
    over = threading.Event()

    def torment() -> None:
        try:
            for _ in range(5):
                goal = len(scene.runs()) + STEP
                until(lambda: len(scene.runs()) >= goal, "progress")  # noqa: B023 - used at once
                scene.server.kill()
                scene.server.start()
        finally:
            over.set()

    thread = threading.Thread(target=torment)
    thread.start()
    while not over.is_set():
        scene.send()
    thread.join()

    scene.judge()


def test_whoever_dies_while_the_server_is_away_loses_nothing(scene: Scene) -> None:
    """Nobody can give back what a worker held; its lease does."""
    scene.send(MANY)
    for count in (1, 2, 1):
        scene.progress()
        victims = scene.workers()[:count]
        scene.server.kill()
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        scene.server.start()
        scene.whole(*victims)
    scene.send(MANY)
    scene.server.kill()
    scene.kill_cluster()
    scene.server.start()

    scene.judge()
