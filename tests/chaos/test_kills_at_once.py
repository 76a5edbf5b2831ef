"""SIGKILL at workers that run many tasks at once loses none and charges none."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.chaos import tasks
from tests.chaos.witness import Witness
from tests.integration import many_tasks
from tests.integration.land import kill, until, worker_pids

if TYPE_CHECKING:
    from tests.integration.land import Land

pytestmark = pytest.mark.chaos

#: threads and coroutines of each worker
THREADS, COROUTINES = 4, 50
#: tasks that are enqueued for each kill: more than two workers run at once
EACH = 2 * (THREADS + COROUTINES) + 40
#: seconds of a lease that nobody renews in time on a busy machine
LONG_LEASE = 20.0
KILLS = 12


def test_killing_workers_full_of_tasks_loses_none(land: Land) -> None:
    """Each runs to its end, and a kill that fell upon many at once is charged to none of them.

    They are of three queues, which are run in their order.
    """
    settings = {
        "threads": THREADS, "coroutines": COROUTINES, "retry": LONG_LEASE, "save_limit": 0, "max_crashes": 0,
        "preload": ["tests.integration.many_tasks", "tests.chaos.tasks"],
        "queues": ["reports", "mail", "default"],
    }  # fmt: skip
    app, cluster = land.both(**settings)
    witness = Witness(app, land.file())
    plain, awaits = app.task(tasks.record), app.task(many_tasks.record)
    # every third is a plain function
    sent = [
        (awaits if index % 3 else plain).using(queue=queue, priority=priority)
        for index, (queue, priority) in enumerate((*tasks.ROUTES, *tasks.ROUTES[::-1]))
    ]
    jobs = []
    for turn in range(KILLS):
        numbers = range(turn * EACH, (turn + 1) * EACH)
        calls = [sent[number % len(sent)].bind(str(witness.path), number, 0.02) for number in numbers]
        jobs += app.enqueue_many(calls)
        busy = until(lambda: [one for one in cluster.status().workers if one.running], "a worker with tasks")
        victim = random.choice(busy)
        kill(victim.pid)
        until(lambda: len(pids := worker_pids(cluster)) == 2 and victim.pid not in pids, "a new worker")  # noqa: B023 - used at once

    witness.drained()
    results = witness.all_succeeded(jobs)

    assert set(range(KILLS * EACH)) == set(witness.runs())
    # A suspect that ran alone as its worker was killed is charged, and nobody else.
    assert sum(one.crashes for one in results) <= KILLS
