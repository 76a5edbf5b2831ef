"""Dead workers are replaced at once as long as tasks get done."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import psutil

from tests.integration import tasks
from tests.integration.land import final, kill, until, worker_pids, zygote_pid

if TYPE_CHECKING:
    from qcore import Cluster, Job
    from tests.integration.land import Land


def test_a_worker_that_did_some_work_is_replaced_at_once_however_often(land: Land) -> None:
    """Only workers that die before they finish a task are a storm and make new ones wait."""
    app, cluster = land.both(workers=1)
    troubles: set[str] = set()

    def replaced(old: int) -> bool:
        troubles.update(cluster.status().troubles)
        return worker_pids(cluster) not in ([], [old])

    for _ in range(14):
        pid = final(app.enqueue(tasks.pid)).value
        kill(pid)
        until(partial(replaced, pid), "a new worker")

    assert not [one for one in troubles if "died within" in one]


def test_a_worker_that_is_recycled_after_a_storm_is_replaced_at_once(land: Land) -> None:
    """Only those that crash are made to wait."""
    app, cluster = land.both(workers=1, recycle=1)
    slowed: list[str] = []

    def waits() -> list[str]:
        return [one for one in cluster.status().troubles if "died within" in one]

    def done(job: Job[int]) -> bool:
        slowed.extend(waits())
        return job.fetch() is not None

    def storm() -> bool:
        for pid in worker_pids(cluster):
            # the status may still name one that was killed before
            with contextlib.suppress(ProcessLookupError):
                kill(pid)
        return bool(waits())

    until(storm, "workers that die early to be made to wait")
    until(lambda: worker_pids(cluster) and not waits(), "the one that waited")
    jobs: list[Job[int]] = []
    for _ in range(5):
        jobs.append(app.enqueue(tasks.pid))
        until(partial(done, jobs[-1]), "the task to be done")

    # each is done by a worker of its own
    assert len({final(job).value for job in jobs}) == 5
    # they would wait 2, 4, 8 and 16 seconds, and the status would say so
    assert not slowed


def spares(cluster: Cluster) -> list[int]:
    """Return the processes that were forked and are not workers."""
    children = psutil.Process(zygote_pid(cluster)).children()
    return [one.pid for one in children if one.pid not in worker_pids(cluster)]


def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def test_nothing_is_forked_ahead_where_no_worker_is_replaced(land: Land) -> None:
    """It would take memory for nothing."""
    app, cluster = land.both(workers=2, recycle=0)

    for _ in range(3):
        final(app.enqueue(tasks.pid))

    assert not spares(cluster)


def test_a_process_that_was_forked_ahead_becomes_the_next_worker(land: Land) -> None:
    """It is there when the one before ends."""
    app, cluster = land.both(workers=1, recycle=1)
    final(app.enqueue(tasks.pid))
    (ahead,) = until(lambda: len(worker_pids(cluster)) == 1 and spares(cluster), "a process forked ahead")

    pids = [final(app.enqueue(tasks.pid)).value for _ in range(2)]

    assert pids[1] == ahead


def test_a_process_that_was_forked_ahead_may_be_killed(land: Land) -> None:
    """It is not a worker yet, so nothing is lost and nobody crashed."""
    app, cluster = land.both(workers=1, recycle=1)

    for _ in range(3):
        final(app.enqueue(tasks.pid))
        (ahead,) = until(lambda: len(worker_pids(cluster)) == 1 and spares(cluster), "one forked ahead")
        kill(ahead)
        until(partial(_is_gone, ahead), "it to be reaped")

    assert len({final(app.enqueue(tasks.pid)).value for _ in range(3)}) == 3
    assert not cluster.status().reincarnations.get("crashed")
