"""Dead workers are replaced at once as long as tasks get done."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from tests.integration import tasks
from tests.integration.land import final, kill, until, worker_pids

if TYPE_CHECKING:
    from qcore import Job
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
