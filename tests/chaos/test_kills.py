"""SIGKILL at any process, again and again, loses no accepted task and leaves no orphan."""

from __future__ import annotations

import itertools
import os
import random
import signal
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from qcore_testing.processes import Child
from tests.chaos import tasks
from tests.chaos.witness import Witness
from tests.integration.land import kill, until, worker_pids

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore import App, Cluster, Job
    from tests.integration.land import Land

pytestmark = pytest.mark.chaos

#: tasks of one test
MANY = 3000
#: seconds of a lease: what nobody could give back returns after this
LEASE = 1.0
#: the same, where a lease that nobody renews in time, on a busy machine, would be one run too many
LONG_LEASE = 5.0


def send(
    app: App, witness: Witness, numbers: range, seconds: float = 0.0, *, spread: bool = False
) -> list[Job[Any]]:
    """Enqueue tasks of these numbers in one call, to one queue or spread over three and their priorities."""
    task = app.task(tasks.record)
    routes = tasks.ROUTES if spread else tasks.ROUTES[:1]
    sent = [task.using(queue=queue, priority=priority) for queue, priority in routes]
    return app.enqueue_many(
        [sent[number % len(sent)].bind(str(witness.path), number, seconds) for number in numbers]
    )


def busy(cluster: Cluster) -> list[int]:
    """Return the workers that are in a task or about to be."""
    return [worker.pid for worker in cluster.status().workers if worker.state == "busy" and worker.pid]


def replaced(cluster: Cluster, gone: int) -> None:
    """Wait until the pool is whole again without the process that was killed."""
    until(lambda: len(pids := worker_pids(cluster)) == 2 and gone not in pids, "a new worker")


def zygote_of(cluster: Cluster) -> int:
    """Return the process that forks the workers, 0 while there is none."""
    children = psutil.Process(cluster.pid).children()
    return children[0].pid if children else 0


def test_killing_idle_workers_costs_nothing(land: Land) -> None:
    """A worker that waits for work holds none; what comes next runs once."""
    app, cluster = land.both(retry=LONG_LEASE, save_limit=0)
    witness = Witness(app, land.file())
    jobs = []
    for turn in range(6):
        victim = worker_pids(cluster)[turn % 2]
        kill(victim)
        replaced(cluster, victim)
        jobs += send(app, witness, range(turn * 100, turn * 100 + 100))
        witness.drained()

    results = witness.all_succeeded(jobs)

    assert set(range(600)) == set(witness.runs())
    assert witness.runs().total() == 600
    assert {0} == {one.crashes for one in results}


def test_killing_busy_workers_charges_only_what_ran(land: Land) -> None:
    """Each kill costs at most the one run it fell into, whichever queue and priority that is of."""
    weights = {"mail": 2, "default": 1, "reports": 1}
    app, cluster = land.both(retry=LONG_LEASE, save_limit=0, max_crashes=0, queues=weights)
    witness = Witness(app, land.file())
    jobs = send(app, witness, range(MANY), 0.0005, spread=True)
    kills = 0
    while kills < 12 and app.queue.size().ready:
        if pids := busy(cluster):
            victim = random.choice(pids)
            kill(victim)
            kills += 1
            replaced(cluster, victim)

    witness.drained()
    results = witness.all_succeeded(jobs)

    assert kills >= 5
    assert [one.name for one in app.queue.list()] == ["default"]
    assert set(range(MANY)) == set(witness.runs())
    assert witness.runs().total() <= MANY + kills
    assert sum(one.crashes for one in results) <= kills


@pytest.mark.early
def test_killing_the_zygote_loses_nothing_and_the_pool_comes_back(land: Land) -> None:
    """Its workers die with it; the supervisor starts another, even one killed as it comes up."""
    app, cluster = land.both(retry=LONG_LEASE, save_limit=0, max_crashes=0)
    witness = Witness(app, land.file())
    jobs = send(app, witness, range(MANY), 0.001)
    for turn in range(6):
        before = worker_pids(cluster)
        zygote = until(lambda: zygote_of(cluster))
        kill(zygote)
        # every other time the new one does not even get ready
        until(lambda: zygote_of(cluster) not in {0, zygote}, "a new zygote")  # noqa: B023 - used at once
        if turn % 2:
            continue
        until(lambda: len(found := worker_pids(cluster)) == 2 and not set(found) & set(before))  # noqa: B023 - as above

    witness.drained()
    results = witness.all_succeeded(jobs)

    assert set(range(MANY)) == set(witness.runs())
    assert witness.runs().total() <= MANY + 6 * 2
    assert sum(one.crashes for one in results) <= 6 * 2


def test_killing_the_supervisor_loses_nothing(land: Land) -> None:
    """Its workers end with it, and the next cluster runs what they held once the lease is over."""
    app, cluster = land.both(retry=LEASE, save_limit=0, recycle=0)
    witness = Witness(app, land.file())
    jobs = send(app, witness, range(MANY), 0.001, spread=True)
    kills = 0
    for _ in range(4):
        until(lambda: busy(cluster) or not app.queue.size().ready)  # noqa: B023 - used at once
        workers = worker_pids(cluster)
        assert cluster.pid is not None
        os.kill(cluster.pid, signal.SIGKILL)
        kills += 1
        assert cluster.wait(100)
        until(lambda: not any(map(_runs, workers)), "its workers to end")  # noqa: B023 - as above
        cluster = land.cluster(retry=LEASE, save_limit=0, recycle=0)

    witness.drained()
    witness.all_succeeded(jobs)

    runs = witness.runs()
    assert set(range(MANY)) == set(runs)
    assert max(runs.values()) <= 1 + kills


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("turn", range(4))
def test_a_producer_killed_in_the_middle_has_sent_all_or_nothing(land: Land, turn: int) -> None:
    """Of each call of enqueue_many either every task runs or none, and none twice."""
    app = land.app(save_limit=-1)
    witness = Witness(app, land.file())
    size = 400

    def produce(tell: Callable[[str], None]) -> None:
        own = land.app(save_limit=-1)
        for batch in itertools.count():
            tell(f"begin {batch}")
            send(own, witness, range(batch * size, batch * size + size))
            tell(f"sent {batch}")

    with Child(produce) as child:
        while child.line() != f"begin {turn + 1}":
            pass
        # somewhere in the call: what a call takes is some milliseconds
        spin = sum(range(random.randrange(200_000)))
        child.kill()
        told = [line for line in child.lines() if line.startswith("sent")]
    assert spin >= 0

    sent = app.queue.size().ready
    land.cluster(save_limit=-1)
    witness.drained()
    runs = witness.runs()

    assert sent % size == 0
    assert sent >= (turn + 1 + len(told)) * size
    assert (sent, {1}) == (runs.total(), set(runs.values()))
