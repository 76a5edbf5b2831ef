"""Processes that a task has started end with it, whoever is killed."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import tasks
from tests.integration.land import alive, final, kill, lines, until, worker_pids, zygote_pid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.land import Land

HOW = ["cancel", "timeout", "hang", "worker", "supervisor", "stopped fork server", "fork server"]


@pytest.fixture
def family(land: Land) -> Iterator[Any]:
    """Return a function that waits for the pids of a task's processes; what is left is killed."""

    def started() -> dict[str, int]:
        until(lambda: len(lines(land.file())) >= 5)
        return {name: int(pid) for name, pid in (line.split() for line in lines(land.file()))}

    yield started
    for line in lines(land.file()):
        with suppress(ProcessLookupError):
            os.kill(int(line.split()[1]), signal.SIGKILL)


@pytest.mark.parametrize("how", HOW)
def test_processes_of_a_task_end_with_it(land: Land, family: Any, how: str) -> None:
    """Children, their children, and those whose parent has ended; what left the group lives on."""
    timeout = 1.5 if how in {"timeout", "hang"} else None
    # A second run would start processes that this test does not know.
    app, cluster = land.both(workers=1, timeout=timeout, ack_failures=True, max_crashes=1)
    job = app.enqueue(tasks.start_family, str(land.file()), how == "hang")
    pids = family()
    daemon = pids.pop("daemon")
    assert all(map(alive, pids.values()))
    (worker,), zygote = worker_pids(cluster), zygote_pid(cluster)

    if how == "cancel":
        job.cancel()
    if how == "worker":
        kill(worker)
    if how == "stopped fork server":
        os.kill(zygote, signal.SIGSTOP)
    if how in {"supervisor", "stopped fork server"}:
        kill(cluster.pid or 0)
    if how == "fork server":
        kill(zygote)

    until(lambda: not any(map(alive, pids.values())), f"the processes to end: {pids}")
    assert alive(daemon)
    if how in {"cancel", "timeout"}:
        assert not final(job).success
        assert worker_pids(cluster) == [worker]


@pytest.mark.parametrize("how", ["cancel", "worker", "supervisor"])
def test_processes_of_a_task_are_left_alone_where_the_user_says_so(land: Land, family: Any, how: str) -> None:
    """With `daemonize_workers` off they live on in every case."""
    app, cluster = land.both(workers=1, daemonize_workers=False, max_crashes=1)
    job = app.enqueue(tasks.start_family, str(land.file()))
    pids = family()
    (worker,) = worker_pids(cluster)

    if how == "cancel":
        job.cancel()
        assert not final(job).success
    else:
        kill(worker if how == "worker" else cluster.pid or 0)
        until(lambda: not alive(worker))

    assert all(map(alive, pids.values()))


def ticks() -> float:
    """Return the time since boot in the kernel's ticks."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")


def started(pid: int) -> int:
    """Return when a process was started, in ticks; the time of psutil is whole seconds off."""
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])


def test_process_of_a_task_before_survives_the_interruption_of_another(land: Land) -> None:
    """What an earlier task of the worker has left running is not the interrupted task's."""
    app, _ = land.both(workers=1)
    before = app.enqueue(tasks.orphan, str(land.file("before"))).result(wait=100)
    # The kernel counts starts of processes in hundredths of a second.
    until(lambda: ticks() > started(before) + 1)
    job = app.enqueue(tasks.hold_on, str(land.file()), str(land.file("gate")))
    until(lambda: lines(land.file()))

    assert job.cancel()

    assert final(job).kind == "cancelled"
    assert alive(before)
