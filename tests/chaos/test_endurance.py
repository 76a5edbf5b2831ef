"""Hundreds of new workers leave the supervisor and its zygote as they were."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from tests.chaos import tasks
from tests.chaos.witness import Witness
from tests.integration.land import kill, until, worker_pids, zygote_pid

if TYPE_CHECKING:
    from qcore import Cluster
    from tests.integration.land import Land

pytestmark = pytest.mark.chaos

MIB: Final = 1 << 20


def footprint(cluster: Cluster) -> list[tuple[int, int, int, int]]:
    """Return files, threads, children and memory of the supervisor and the zygote."""
    processes = [psutil.Process(cluster.pid), psutil.Process(zygote_pid(cluster))]
    return [
        (
            len(os.listdir(f"/proc/{process.pid}/fd")),
            process.num_threads(),
            len(process.children()),
            process.memory_info().rss,
        )
        for process in processes
    ]


def at_rest(cluster: Cluster) -> list[tuple[int, int, int, int]]:
    """Return the footprint once both workers wait."""
    # By then each thread of the supervisor has looked once, and opened what it keeps open.
    until(lambda: cluster.status().uptime > 3)
    until(lambda: [worker.state for worker in cluster.status().workers] == ["idle", "idle"])
    return footprint(cluster)


def compare(before: list[tuple[int, int, int, int]], after: list[tuple[int, int, int, int]]) -> None:
    """Fail if anything has grown."""
    for (files, threads, children, memory), now in zip(before, after, strict=True):
        assert (threads, children) == now[1:3]
        assert abs(files - now[0]) <= 2
        assert now[3] - memory < 2 * MIB


@pytest.mark.early
@pytest.mark.parametrize("restarts", [150, pytest.param(3000, marks=pytest.mark.long)])
def test_recycled_workers_leave_nothing_behind(land: Land, restarts: int) -> None:
    """Files, threads, children and memory are those of the beginning."""
    app, cluster = land.both(recycle=1, save_limit=-1)
    witness = Witness(app, land.file())
    task = app.task(tasks.record)

    def restart(numbers: range) -> list[tuple[int, int, int, int]]:
        app.enqueue_many([task.bind(str(witness.path), number) for number in numbers])
        witness.drained(within=100 + restarts / 5)
        return at_rest(cluster)

    before = restart(range(70))
    after = restart(range(70, 70 + restarts))

    compare(before, after)
    assert dict.fromkeys(range(70 + restarts), 1) == witness.runs()
    assert cluster.status().reincarnations["recycled"] >= 70 + restarts - 2


@pytest.mark.parametrize("kills", [25, pytest.param(300, marks=pytest.mark.long)])
def test_killed_workers_leave_nothing_behind(land: Land, kills: int) -> None:
    """A death is cleaned up after like a leave."""
    app, cluster = land.both(save_limit=-1, retry=1, max_crashes=0)
    witness = Witness(app, land.file())
    task = app.task(tasks.record)

    def storm(count: int) -> list[tuple[int, int, int, int]]:
        for _ in range(count):
            app.enqueue_many([task.bind(str(witness.path), number) for number in range(3)])
            # one that did some work: where workers die without any, new ones wait
            victim = until(
                lambda: next((one.pid for one in cluster.status().workers if one.pid and one.done), 0)
            )
            kill(victim)
            until(lambda: len(now := worker_pids(cluster)) == 2 and victim not in now)  # noqa: B023 - used at once
        witness.drained()
        return at_rest(cluster)

    before = storm(8)
    after = storm(kills)

    compare(before, after)
