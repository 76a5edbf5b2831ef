"""What an integration test stands on: one queue in a file and what runs on it."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from qcore import App, Cluster, Config, Result, ResultNotReady
from tests.forkserver import SERVERS, ForkServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qcore import Job

#: seconds any one condition is given; a machine under load must not fail a test
TIMEOUT = 100.0
SECRET = "the key of the integration tests, not of anybody else"


def until(condition: Callable[[], Any], what: str = "", *, within: float = TIMEOUT) -> Any:
    """Return what `condition` returns as soon as that is true in the sense of `if`."""
    end = time.monotonic() + within
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= end:
            message = f"still waiting after {within:g} seconds: {what or condition}"
            raise AssertionError(message)
        time.sleep(0.01)


def lines(path: Path) -> list[str]:
    """Return the lines tasks have written so far."""
    return path.read_text().splitlines() if path.exists() else []


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def stopped(pid: int) -> bool:
    """Tell whether every thread of a process has come to the stop that SIGSTOP asked for."""
    states = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        # one that ends meanwhile is not there any more
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            states.add((task / "stat").read_text().rpartition(") ")[2][0])
    return states == {"T"}


def locked(path: Path) -> bool:
    """Tell whether a process is amid a transaction that writes to this file."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        connection.execute("begin immediate")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False


class Land:
    """One queue in a file of its own, and the clusters of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._apps: list[App] = []
        self._clusters: list[Cluster] = []

    def settings(self, **settings: Any) -> dict[str, Any]:
        """Return the table of a configuration on this queue."""
        return {
            "name": "land",
            "workers": 2,
            "secret_key": SECRET,
            "log_level": "WARNING",
            "preload": ["tests.integration.tasks"],
            "shutdown_timeout": 5,
            "sqlite": {"path": str(self.folder / "queue.db")},
        } | settings

    def app(self, **settings: Any) -> App:
        """Return a producer."""
        made = App(Config.from_dict(self.settings(**settings)))
        self._apps.append(made)
        file = made.config.queue_file(made.config.name)
        if made.config.broker == "sqlite" and file is not None and not file.exists():
            # A test may ask how many there are before it enqueues one.
            made.runtime.make_broker().close()
        return made

    def cluster(self, **settings: Any) -> Cluster:
        """Return a running cluster; the test need not stop it."""
        made = Cluster(Config.from_dict(self.settings(**settings)))
        self._clusters.append(made)
        return made.start()

    def both(self, **settings: Any) -> tuple[App, Cluster]:
        """Return a producer and a running cluster of one configuration."""
        return self.app(**settings), self.cluster(**settings)

    def file(self, name: str = "witness") -> Path:
        """Return a file for tasks to write to."""
        return self.folder / name

    def freeze(self, pid: int) -> None:
        """Stop a process by SIGSTOP when it locks nothing; what it locks, nobody else could use.

        Its threads go on until the first of them has taken the signal, so the lock is looked for once all
        stand still.
        """
        queue, last = self.folder / "queue.db", time.monotonic() + TIMEOUT
        while time.monotonic() < last:
            os.kill(pid, signal.SIGSTOP)
            until(lambda: stopped(pid), f"all threads of {pid} to stop")
            end = time.monotonic() + 1.0
            # The lock may be that of another process, which goes on and releases it.
            while locked(queue):
                if time.monotonic() >= end:
                    break
                time.sleep(0.01)
            else:
                return
            os.kill(pid, signal.SIGCONT)
        message = f"{pid} held or met a lock of {queue} at each of its stops for {TIMEOUT:g} seconds"
        raise AssertionError(message)

    def leave(self) -> None:
        """Stop what still runs."""
        for cluster in self._clusters:
            cluster.stop(timeout=0)
        for app in self._apps:
            app.close()


def final(job: Job[Any], wait: float = TIMEOUT) -> Result:
    """Return the final result of a job."""
    result = job.fetch(wait)
    if result is None or not result.state.final:
        message = f"{job} has no final result: {result}"
        raise ResultNotReady(message)
    return result


def finals(jobs: Iterable[Job[Any]], wait: float = TIMEOUT) -> list[Result]:
    """Return the final results of jobs, in their order."""
    return [final(job, wait) for job in jobs]


def worker_pids(cluster: Cluster) -> list[int]:
    """Return the process ids of the workers there are now."""
    return [worker.pid for worker in cluster.status().workers if worker.pid]


def zygote_pid(cluster: Cluster) -> int:
    """Return the process that forks the workers of a cluster, 0 while there is none."""
    children = psutil.Process(cluster.pid).children()
    return children[0].pid if children else 0


def kill(pid: int) -> None:
    """Kill a process the hard way."""
    os.kill(pid, signal.SIGKILL)


class Marked:
    """Finds every process that descends from this one by a mark in its environment.

    A supervisor that was forked has the environment of who forked it in `/proc`; it and what
    descends from it are descendants of this process, orphans too, see `tests.forkserver`.
    """

    def __init__(self, mark: str) -> None:
        self._mark = f"MARK_OF_QCORE_TESTS={mark}".encode()
        self._before = {process.pid for process in psutil.Process().children(recursive=True)}

    def left(self) -> list[int]:
        """Return the marked processes that run, orphans included."""
        descendants = {process.pid for process in psutil.Process().children(recursive=True)}
        found = [pid for pid in descendants - self._before - SERVERS if alive(pid)]
        if ForkServer.works_here():
            # then orphans are children of this process
            return found
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in {os.getpid(), *found, *SERVERS}:
                continue
            try:
                marked = self._mark in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if marked and alive(int(entry.name)):
                found.append(int(entry.name))
        return found
