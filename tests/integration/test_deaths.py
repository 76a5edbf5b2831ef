"""Whoever is killed: no accepted task is lost and no orphan is left."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.integration import tasks
from tests.integration.land import alive, final, finals, kill, lines, until, worker_pids, zygote_pid

if TYPE_CHECKING:
    from qcore import Cluster
    from tests.integration.land import Land, Marked

PROGRAM = """
import sys
from qcore import Cluster, Config
cluster = Cluster(Config.from_dict({settings!r})).start()
print(cluster.pid, *[worker.pid for worker in cluster.status().workers], flush=True)
{then}
sys.stdin.read()
"""


def program(land: Land, then: str = "", **settings: object) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a program that starts a cluster; return it, and the pids of supervisor and workers."""
    source = land.file("program.py")
    source.write_text(PROGRAM.format(settings=land.settings(**settings), then=then))
    process = subprocess.Popen(
        [sys.executable, str(source)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    return process, [int(word) for word in process.stdout.readline().split()]


def replaced(cluster: Cluster, pid: int, workers: int) -> bool:
    """Tell whether a worker is gone and there are so many again."""
    pids = worker_pids(cluster)
    return pid not in pids and len(pids) == workers


def finished(cluster: Cluster, count: int) -> bool:
    """Tell whether more tasks have been run."""
    return cluster.status().finished > count


def reborn(cluster: Cluster, old: int) -> bool:
    """Tell whether another zygote has taken the place of the old one."""
    return not alive(old) and zygote_pid(cluster) not in {0, old}


def end(process: subprocess.Popen[str]) -> None:
    """Reap a program."""
    process.kill()
    process.communicate()


def test_killed_idle_worker_is_replaced(land: Land) -> None:
    """An idle worker that is killed costs nothing: its successor works."""
    app, cluster = land.both(workers=2)

    for _ in range(3):
        for pid in worker_pids(cluster):
            kill(pid)
            until(partial(replaced, cluster, pid, 2))
        assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2


def test_killed_busy_workers_lose_nothing(land: Land) -> None:
    """Workers killed again and again in the middle of a flood: every task succeeds."""
    app, cluster = land.both(workers=2, save_limit=0, max_crashes=0)
    jobs = app.enqueue_many([app.task(tasks.nap).bind(0.002)] * 1500)

    for round_ in range(1, 9):
        until(partial(finished, cluster, 100 * round_))
        pid = until(lambda: worker_pids(cluster))[0]
        kill(pid)
        # Else the next round may kill the same one again.
        until(lambda: pid not in worker_pids(cluster))  # noqa: B023 - used at once

    assert all(result.success for result in finals(jobs))
    until(lambda: app.queue.size().leased == 0)
    assert cluster.status().reincarnations["crashed"] == 8


def test_program_that_is_killed_takes_its_cluster_along(land: Land, nobody_left: Marked) -> None:
    """When the program that called `start` is killed, the supervisor stops: nothing runs on."""
    process, pids = program(land)
    assert all(alive(pid) for pid in pids)

    end(process)

    until(lambda: not nobody_left.left(), "the cluster to end")


def test_program_that_is_killed_lets_its_running_tasks_finish(land: Land, nobody_left: Marked) -> None:
    """The death of the program is a graceful stop for its cluster."""
    app = land.app()
    process, _ = program(land)
    job = app.enqueue(tasks.nap, 0.8, str(land.file()))
    until(lambda: lines(land.file()))

    end(process)
    until(lambda: not nobody_left.left(), "the cluster to end")

    assert final(job).success
    assert app.queue.size().leased == 0


def test_program_killed_with_an_answer_unread_takes_its_cluster_along(
    land: Land, nobody_left: Marked
) -> None:
    """A question left hanging does not break the supervisor's farewell: running tasks finish."""
    app = land.app()
    ask = "[cluster._control.ask(do='status') for _ in range(20)]; print('asked', flush=True)"
    process, _ = program(land, ask)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    job = app.enqueue(tasks.nap, 0.8, str(land.file()))
    until(lambda: lines(land.file()))

    end(process)
    until(lambda: not nobody_left.left(), "the cluster to end")

    assert final(job).success
    assert app.queue.size().leased == 0


def test_program_that_just_ends_takes_its_cluster_along(land: Land, nobody_left: Marked) -> None:
    """A program that falls off its end without `stop` leaves nothing running."""
    process, _ = program(land)

    process.communicate()

    assert process.returncode == 0
    until(lambda: not nobody_left.left(), "the cluster to end")


@pytest.mark.parametrize("busy", [True, False])
def test_no_worker_survives_a_killed_supervisor(land: Land, busy: bool) -> None:
    """The kernel ends zygote and workers with their supervisor; the task comes back with its lease."""
    app, cluster = land.both(workers=2, retry=1)
    gate = land.file("gate")
    job = app.enqueue(tasks.hold_on, str(land.file()), str(gate)) if busy else None
    until(lambda: not busy or lines(land.file()))
    pids = [cluster.pid or 0, zygote_pid(cluster), *worker_pids(cluster)]

    kill(cluster.pid or 0)

    until(lambda: not any(alive(pid) for pid in pids), "all of the cluster to end")
    assert cluster.status().state == "stopped"
    if job is not None:
        gate.touch()
        land.cluster(retry=1)
        assert final(job).success


def test_killed_zygote_is_replaced_and_nothing_is_lost(land: Land) -> None:
    """Without the process that forks workers the cluster makes itself a new one."""
    app, cluster = land.both(workers=2, max_crashes=0)
    gate = land.file("gate")
    jobs = [app.enqueue(tasks.hold_on, str(land.file()), str(gate)) for _ in range(2)]
    until(lambda: len(lines(land.file())) == 2)
    before = worker_pids(cluster)

    for _ in range(3):
        old = zygote_pid(cluster)
        kill(old)
        until(partial(reborn, cluster, old))
        until(lambda: len(worker_pids(cluster)) == 2)
    gate.touch()

    assert all(result.success for result in finals(jobs))
    assert not set(before) & set(worker_pids(cluster))
    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2


def test_zygote_killed_while_workers_are_being_born_is_replaced(land: Land) -> None:
    """Workers that were ordered and never came are ordered again."""
    app, cluster = land.both(workers=4, recycle=1, save_limit=-1, max_crashes=0)
    app.enqueue_many([app.task(tasks.echo).bind()] * 20_000)

    for _ in range(6):
        until(lambda: len(worker_pids(cluster)) >= 2)
        old = zygote_pid(cluster)
        kill(old)
        until(partial(reborn, cluster, old))
    with app.runtime.brokers.connection() as broker:
        broker.purge()

    until(lambda: len(worker_pids(cluster)) == 4, "all four workers to be back")


def test_supervisor_outlives_a_control_line_that_is_cut(land: Land) -> None:
    """A handle that is thrown away does not stop the cluster as long as its program lives."""
    app, cluster = land.both()
    control = cluster._control
    assert control is not None

    control._line.shutdown(socket.SHUT_RDWR)

    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2
    os.kill(cluster.pid or 0, 15)
    assert cluster.wait(timeout=100)
