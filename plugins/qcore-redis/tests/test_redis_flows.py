"""Hooks, chains and groups on clusters whose queue and results are in one server."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Chain, Cluster, Config, QueueSize, Retry, TaskFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TASKS = """
import os, signal, time


def note(path, text):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{text}\\n".encode())
    os.close(fd)


def step(path, text):
    note(path, text)
    return text


def after(before, path, text):
    note(path, f"{before}+{text}")
    return f"{before}+{text}"


def refuse(path):
    note(path, "no")
    raise ValueError("no")


def fall(path):
    note(path, "fell")
    os.kill(os.getpid(), signal.SIGKILL)


def hold(path):
    note(path, "held")
    time.sleep(60)


def slow(path, number):
    note(path, number)
    time.sleep(0.01)
    return number


def double(number):
    return 2 * number


def total(numbers, path):
    note(path, f"total of {len(numbers)}")
    return sum(numbers)


def tell(results):
    return [str(one.value) if one.success else one.kind for one in results]


def hook(result):
    note(result.label, f"{result.kind} {result.value} {result.error.partition(':')[0]}")
"""


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return what `condition` returns as soon as that is true in the sense of `if`."""
    end = time.monotonic() + 100
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting for {what}"
        time.sleep(0.01)
    return found


class Scene:
    """One queue on one server, what works on it, and what tasks have written down."""

    def __init__(self, table: dict[str, Any], folder: Path, server: Any) -> None:
        self._table = table
        self.server = server
        self.app = App(Config.from_dict(table))
        self.folder = folder
        self.path = str(folder / "witness")
        self._clusters: list[Cluster] = []

    def cluster(self, **settings: Any) -> Cluster:
        """Return a running cluster."""
        made = Cluster(Config.from_dict(self._table | settings))
        self._clusters.append(made)
        return made.start()

    @property
    def lines(self) -> list[str]:
        """Return what tasks have written down."""
        found = self.folder / "witness"
        return found.read_text().splitlines() if found.exists() else []

    def drained(self, dead_letters: int = 0) -> None:
        """Wait until nothing is left but dead letters."""
        wanted = QueueSize(ready=0, leased=0, delayed=0, dead_letters=dead_letters)
        until(lambda: self.app.queue.size() == wanted, "the queue to be empty")

    def leave(self) -> None:
        """Stop what still runs."""
        for cluster in self._clusters:
            cluster.stop(timeout=0)
        self.app.close()


@pytest.fixture
def scene(tmp_path: Path, own: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Yield a queue on a server of its own."""
    (tmp_path / "flow_tasks_here.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    table = {
        "name": "flows",
        "workers": 2,
        "retry": 30,
        "secret_key": "the key of these tests, not of anybody else",
        "log_level": "CRITICAL",
        "shutdown_timeout": 5,
        "redis": {"unix_socket_path": own.path},
    }
    made = Scene(table, tmp_path, own)
    yield made
    made.leave()


def test_a_hook_is_called_once_a_task_stored_or_not(scene: Scene) -> None:
    """A failure that is retried does not end a job; the supervisor reports a worker that died."""
    scene.cluster(max_crashes=1)
    hooked = {"hook": "flow_tasks_here.hook", "label": scene.path}

    scene.app.async_task("flow_tasks_here.double", 2, save=False, hook=hooked["hook"], task_name=scene.path)
    until(lambda: scene.lines == ["success 4 "], "the hook of a success")
    failing = scene.app.task(name="flow_tasks_here.refuse")(os.getpid)
    failing.using(retry=Retry(max_attempts=3, backoff=0.01), **hooked).enqueue(scene.path)
    until(lambda: "failure None ValueError" in scene.lines, "the hook of a failure")
    falling = scene.app.task(name="flow_tasks_here.fall")(os.getpid)
    falling.using(**hooked).enqueue(scene.path)
    until(lambda: "crash None WorkerDied" in scene.lines, "the hook of a crash")

    scene.drained(dead_letters=2)
    assert [
        "success 4 ",
        *["no"] * 3,
        "failure None ValueError",
        "fell",
        "crash None WorkerDied",
    ] == scene.lines


def test_a_chain_runs_in_order_and_hands_values_on(scene: Scene) -> None:
    """Where no success is stored too."""
    scene.cluster(save_limit=-1)
    steps = [("flow_tasks_here.step", (scene.path, "a")), ("flow_tasks_here.after", (scene.path, "b"))]

    scene.app.chain([*steps, ("flow_tasks_here.after", (scene.path, "c"))], pipe_result=True)

    until(lambda: scene.lines == ["a", "a+b", "a+b+c"], "the chain to end")
    scene.drained()


def test_a_chain_stops_where_a_link_fails_or_falls(scene: Scene) -> None:
    """Its handle says where."""
    scene.cluster(max_crashes=1, max_attempts=1)
    never = ("flow_tasks_here.step", (scene.path, "never"))

    for name, error in (("refuse", "ValueError: no"), ("fall", "WorkerDied")):
        chain = scene.app.chain([(f"flow_tasks_here.{name}", (scene.path,)), never])
        with pytest.raises(TaskFailed, match=rf"stopped at link 1 of 2 \(.*{name}\): {error}"):
            chain.result(wait=100)

    scene.drained(dead_letters=2)
    assert ["no", "fell"] == scene.lines


def test_a_callback_is_called_once_with_all_results(scene: Scene) -> None:
    """In their order; and nothing of the barrier is left in the server."""
    scene.cluster()

    job = scene.app.group([("flow_tasks_here.double", (n,)) for n in range(50)]).then(
        ("flow_tasks_here.total", (scene.path,))
    )

    assert 2450 == job.result(wait=100)
    assert 1 == scene.lines.count("total of 50")
    until(lambda: not _gathered(scene.app, job.members.id), "the barrier to be removed")


def test_a_callback_is_not_called_when_a_member_failed(scene: Scene) -> None:
    """Unless it asks for the results."""
    scene.cluster(ack_failures=True)
    members = [("flow_tasks_here.double", (1,)), ("flow_tasks_here.refuse", (scene.path,))]

    with pytest.raises(TaskFailed, match="1 of 2 failed, the first is #2: ValueError: no"):
        scene.app.group(members).then(("flow_tasks_here.total", (scene.path,))).result(wait=100)
    fed = Chain(
        [("flow_tasks_here.step", (scene.path, "a")), ("flow_tasks_here.after", (scene.path, "b"))],
        pipe_result=True,
    )
    told = scene.app.group([*members, fed]).then("flow_tasks_here.tell", results=True)

    assert ["2", "failure", "a+b"] == told.result(wait=100)


def test_iter_collects_a_thousand_results_in_order(scene: Scene) -> None:
    """And of nothing the empty list."""
    scene.cluster()

    assert [] == scene.app.iter("flow_tasks_here.double", []).result(wait=100)
    assert [2 * n for n in range(1000)] == scene.app.iter("flow_tasks_here.double", range(1000)).result(
        wait=60
    )


def test_two_members_that_end_together_call_back_once(scene: Scene) -> None:
    """Whichever of two workers is the last."""
    scene.cluster()

    jobs = [
        scene.app.group([("flow_tasks_here.slow", (scene.path, n)) for n in range(2)]).then(
            ("flow_tasks_here.total", (scene.path,))
        )
        for _ in range(30)
    ]

    assert [1] * 30 == [job.result(wait=100) for job in jobs]
    scene.drained()
    assert 30 == scene.lines.count("total of 2")


@pytest.mark.chaos
def test_flows_end_well_while_workers_are_killed(scene: Scene) -> None:
    """At any moment; chains go on, callbacks are called with everything."""
    cluster = scene.cluster(max_crashes=0, retry=1)
    steps = [("flow_tasks_here.slow", (scene.path, f"link {n}")) for n in range(15)]
    chains = [scene.app.chain(steps) for _ in range(4)]
    groups = [
        scene.app.group([("flow_tasks_here.slow", (scene.path, n)) for n in range(15)]).then(
            ("flow_tasks_here.total", (scene.path,))
        )
        for _ in range(4)
    ]

    for _ in range(12):
        seen = len(scene.lines)
        pids = until(lambda: [one.pid for one in cluster.status().workers if one.pid], "a worker")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[0], signal.SIGKILL)
        until(lambda seen=seen: len(scene.lines) > seen or scene.app.queue.size().ready == 0, "progress")

    assert ["link 14"] * 4 == [chain.result(wait=60) for chain in chains]
    assert [sum(range(15))] * 4 == [group.result(wait=60) for group in groups]
    scene.drained()


def test_results_are_read_and_forgotten_by_group(scene: Scene) -> None:
    """Values, counts, and the label that is taken away."""
    scene.cluster()
    for n in range(3):
        scene.app.async_task("flow_tasks_here.double", n, group="g")

    assert [0, 2, 4] == sorted(scene.app.results.get_group("g", wait=30, count=3))
    ids = [one.id for one in scene.app.results.fetch_group("g")]
    assert (3, 3, 0) == (
        scene.app.results.count_group("g"),
        scene.app.results.delete_group("g"),
        scene.app.results.count_group("g"),
    )
    assert [True, False] == [scene.app.results.delete(ids[0]) for _ in range(2)]


def _gathered(app: App, flow: str) -> Any:
    with app.runtime.coordination_stores.connection() as store:
        return store.barrier_members(f"flow:{flow}")


def test_what_may_run_once_runs_once(scene: Scene) -> None:
    """Its worker is killed, or its whole cluster: on Redis too it does not come back."""
    cluster = scene.cluster(retry=1)
    task = scene.app.task(name="flow_tasks_here.fall", at_most_once=True)(os.getpid)

    fallen = task.enqueue(scene.path).fetch(wait=100)
    assert fallen is not None
    assert fallen.interrupted
    assert scene.lines == ["fell"]

    held = scene.app.task(name="flow_tasks_here.hold", at_most_once=True)(os.getpid).enqueue(scene.path)
    until(lambda: "held" in scene.lines, "the task to begin")
    os.kill(cluster.pid or 0, signal.SIGKILL)
    until(lambda: cluster.status().state == "stopped", "the cluster to end")
    scene.cluster(retry=1)
    assert scene.app.task(name="flow_tasks_here.double")(os.getpid).enqueue(2).result(wait=100) == 4

    scene.drained()
    assert scene.lines == ["fell", "held"]
    begun = held.fetch()
    assert begun is not None
    assert begun.begun


def test_message_that_a_frozen_idle_worker_was_handed_does_not_wait_for_its_lease(scene: Scene) -> None:
    """The server gives it to a connection that waits; the supervisor notices who does not go on."""
    cluster = scene.cluster(workers=1, retry=600)
    task = scene.app.task(name="flow_tasks_here.double")(os.getpid)
    assert task.enqueue(1).result(wait=100) == 2
    worker = cluster.status().workers[0].pid
    with scene.server.client() as client:
        until(lambda: client.info("clients")["blocked_clients"] == 1, "the worker to wait at the server")

    os.kill(worker, signal.SIGSTOP)
    job = task.enqueue(2)
    until(lambda: not scene.app.queue.size().ready, "the server to hand the message out")

    assert job.result(wait=60) == 4
    assert cluster.status().reincarnations["frozen"] == 1
    scene.drained()
