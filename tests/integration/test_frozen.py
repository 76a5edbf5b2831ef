"""A worker that freezes without a task is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration import tasks
from tests.integration.land import alive, until, worker_pids

if TYPE_CHECKING:
    from tests.integration.land import Land


def test_frozen_idle_worker_is_replaced_and_others_are_not(land: Land) -> None:
    """Its successor works; a worker that waits or is paused for as long is left alone."""
    app, cluster = land.both(workers=2)
    assert app.enqueue(tasks.add, 1, 2).result(wait=100) == 3
    frozen, healthy = worker_pids(cluster)
    # one that still settles may be waiting for its broker, and is left alone for as long
    until(lambda: {one.state for one in cluster.status().workers} == {"idle"}, "both to be idle")

    land.freeze(frozen)
    app.queue.pause()
    until(lambda: not alive(frozen), "the frozen worker to end", within=100)
    app.queue.resume()

    assert app.enqueue(tasks.add, 1, 2).result(wait=100) == 3
    until(lambda: len(worker_pids(cluster)) == 2)
    assert healthy in worker_pids(cluster)
    assert dict(cluster.status().reincarnations) == {"frozen": 1}
