"""A long task and its lease: Django-Q's own example, with and without renewal."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from qcore import QueueSize
from tests.integration import controlled_tasks, tasks
from tests.integration.land import final, lines, until

if TYPE_CHECKING:
    from tests.integration.land import Land

pytestmark = pytest.mark.portable


#: Django-Q's own seconds take more than a minute
AT_LENGTH = pytest.mark.skipif(
    "TEST_QCORE_SLOW" not in os.environ, reason="takes a minute; set TEST_QCORE_SLOW=1"
)


@pytest.mark.parametrize("scale", [pytest.param(1.0, marks=[pytest.mark.slow, AT_LENGTH]), 0.2])
@pytest.mark.parametrize(("renew", "runs"), [(False, 5), (True, 1)])
def test_example_of_the_specification_runs_five_times_or_with_renewal_once(
    land: Land, scale: float, renew: bool, runs: int
) -> None:
    """Retry 5, 4 workers, sleep 22: runs begin at 0, 5, 10, 15 and, by the first free worker, 22."""
    app, cluster = land.both(retry=5 * scale, workers=4, renew_leases=renew, timeout=None)

    job = app.enqueue(tasks.nap, 22 * scale, str(land.file()))
    empty = QueueSize(ready=0, leased=0, delayed=0, dead_letters=0)
    until(lambda: app.queue.size() == empty and cluster.status().state == "idle", within=100 * scale + 20)

    started = [float(line) - float(lines(land.file())[0]) for line in lines(land.file())]
    assert len(started) == runs
    expected = [0, 5, 10, 15, 22][:runs]
    assert all(
        when * scale - 0.05 <= at < when * scale + 2.5 * scale + 0.3
        for at, when in zip(started, expected, strict=True)
    )
    assert final(job).success


def test_lease_of_a_waiting_neighbour_is_renewed_too(land: Land) -> None:
    """Tasks that take longer than `retry` one by one and together run once each."""
    app, _ = land.both(retry=0.6, workers=2)

    jobs = [app.enqueue(tasks.nap, 1.0, str(land.file())) for _ in range(6)]

    assert all(final(job).success for job in jobs)
    assert len(lines(land.file())) == 6


def test_who_has_lost_its_lease_does_not_decide_that_a_task_failed(land: Land) -> None:
    """Its supervisor stood still, another took the message over: the failure of the first decides nothing."""
    settings: dict[str, Any] = {"workers": 1, "retry": 1.0, "ack_failures": True, "timeout": None}
    app, cluster = land.both(**settings)
    gate, started = land.file("gate"), land.file()
    job = app.enqueue(controlled_tasks.fail_at, str(started), str(gate))
    until(lambda: lines(started))
    assert cluster.pid
    land.freeze(cluster.pid)
    try:
        land.cluster(**settings)
        until(lambda: len(lines(started)) == 2, "another worker to take over")

        gate.touch()
        other = app.enqueue(tasks.pid)
        assert other.result(45), "the first worker to go on"

        assert (job.fetch(), app.queue.size().leased) == (None, 1)
        land.file("gate.second").touch()
        assert final(job).value == "by the one that took over"
    finally:
        os.kill(cluster.pid, signal.SIGCONT)
