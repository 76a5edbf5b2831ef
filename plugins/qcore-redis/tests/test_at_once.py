"""Real clusters that run many tasks at once, on a real server."""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from qcore import App, Cluster, Config, State
from qcore.model import QueueSize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore import Job, Result

TASKS = """
import asyncio, os, signal, time


def note(path, text):
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{text}\\n".encode())
    os.close(file)


async def held(gate, path, number):
    note(path, number)
    while not os.path.exists(gate):
        await asyncio.sleep(0.01)
    return number


def held_in_thread(gate, path, number):
    note(path, number)
    while not os.path.exists(gate):
        time.sleep(0.01)
    return number


async def record(path, number):
    await asyncio.sleep(0.02)
    note(path, number)
    return number


async def poison(path):
    note(path, "poison")
    await asyncio.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)
"""
#: tasks that one worker runs at once in these tests, and seconds any one condition is given
MANY, TIMEOUT = 6, 100.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return what `condition` returns as soon as that is true in the sense of `if`."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, f"still waiting after {TIMEOUT:g} seconds for {what}"
        time.sleep(0.01)
    return found


def finals(jobs: list[Job[Any]]) -> list[Result]:
    """Return the final results of jobs, in their order."""
    found = [job.fetch(TIMEOUT) for job in jobs]
    return [one for one in found if one is not None and one.state.final]


class Scene:
    """One queue on one server, one worker, and files for its tasks."""

    def __init__(self, folder: Path, server: Any, stack: contextlib.ExitStack) -> None:
        self.gate, self.path = folder / "gate", folder / "path"
        self._server, self._stack = server, stack

    def both(self, **settings: Any) -> tuple[App, Cluster]:
        """Return a producer and a running cluster."""
        config = Config.from_dict(
            {
                "name": "land",
                "workers": 1,
                "coroutines": MANY,
                "secret_key": "the key of these tests, not of anybody else",
                "log_level": "ERROR",
                "save_limit": 0,
                "preload": ["redis_at_once"],
                "redis": {"unix_socket_path": self._server.path},
            }
            | settings
        )
        app, cluster = self._stack.enter_context(contextlib.closing(App(config))), Cluster(config)
        self._stack.callback(cluster.stop, timeout=0)
        return app, cluster.start()

    def task(self, app: App, name: str, **options: Any) -> Any:
        """Return a function of the tasks of these tests, declared with options."""
        return app.task(**options)(getattr(importlib.import_module("redis_at_once"), name))

    def noted(self) -> Counter[str]:
        """Return how often each task has run."""
        return Counter(self.path.read_text().splitlines() if self.path.exists() else [])

    def hold(self, app: App, count: int, name: str = "held", **options: Any) -> list[Job[Any]]:
        """Enqueue tasks that wait for the gate, and return once all of them run."""
        before = self.noted().total()
        task = self.task(app, name, **options)
        jobs = app.enqueue_many([task.bind(str(self.gate), str(self.path), n) for n in range(count)])
        until(lambda: self.noted().total() >= before + count, f"{count} tasks to run at once")
        return jobs


@pytest.fixture
def scene(tmp_path: Path, own: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Yield a queue on a server of its own."""
    (tmp_path / "redis_at_once.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "redis_at_once", raising=False)
    with contextlib.ExitStack() as stack:
        yield Scene(tmp_path, own, stack)


def test_what_runs_at_once_leaves_room_as_it_ends(scene: Scene) -> None:
    """Five wait, and the sixth place is enough for all that come after them; leases are renewed."""
    app, cluster = scene.both(retry=2.0)
    jobs = scene.hold(app, MANY - 1)
    quick = [app.enqueue("redis_at_once.record", str(scene.path), f"quick {n}") for n in range(20)]

    assert [f"quick {n}" for n in range(20)] == [one.value for one in finals(quick)]
    until(lambda: cluster.status().counts.renewals >= 2 * (MANY - 1), "two renewals of each")
    scene.gate.touch()

    assert list(range(MANY - 1)) == [one.value for one in finals(jobs)]
    assert set(scene.noted().values()) == {1}
    assert app.queue.size() == QueueSize(ready=0, leased=0, delayed=0, dead_letters=0)


@pytest.mark.parametrize(("name", "threads"), [("held", 1), ("held_in_thread", 4)])
def test_a_cancelled_or_late_one_hurts_no_neighbour(scene: Scene, name: str, threads: int) -> None:
    """One is cancelled, one is late, one ends."""
    app, cluster = scene.both(threads=threads, max_attempts=1)
    kept, cancelled = scene.hold(app, 2, name)
    (late,) = scene.hold(app, 1, name, timeout=0.2)
    (pid,) = [one.pid for one in cluster.status().workers]

    cancelled.cancel()
    ended = finals([cancelled, late])
    scene.gate.touch()

    assert ["TaskCancelled", "TaskTimeout"] == [one.error.partition(":")[0] for one in ended]
    assert [(State.SUCCESS, 1)] == [(one.state, one.attempts) for one in finals([kept])]
    assert [pid] == [one.pid for one in cluster.status().workers]


def test_who_kills_a_worker_full_of_others_is_charged_alone(scene: Scene) -> None:
    """The suspicion travels with the message: each runs again alone, and only one kills its worker then."""
    app, _ = scene.both(max_crashes=2)
    jobs = [app.enqueue("redis_at_once.record", str(scene.path), number) for number in range(15)]
    victim = app.enqueue("redis_at_once.poison", str(scene.path))
    jobs += [app.enqueue("redis_at_once.record", str(scene.path), number) for number in range(15, 30)]

    (result,) = finals([victim])

    assert (State.FAILED, 2) == (result.state, result.crashes)
    assert [(State.SUCCESS, 1, 0)] * 30 == [(one.state, one.attempts, one.crashes) for one in finals(jobs)]
    assert app.queue.size() == QueueSize(ready=0, leased=0, delayed=0, dead_letters=1)
