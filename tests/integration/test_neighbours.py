"""Slow tasks hold nobody up: neither results before them nor messages behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration import tasks
from tests.integration.land import final, finals, lines, until

if TYPE_CHECKING:
    from tests.integration.land import Land

pytestmark = pytest.mark.portable


@pytest.mark.parametrize("save", [True, False])
def test_fast_tasks_of_a_batch_are_done_while_their_slow_neighbour_runs(land: Land, save: bool) -> None:
    """What is finished is visible and acknowledged although the batch is not over."""
    app = land.app()
    gate = land.file("gate")
    fast = app.task(save=save)(tasks.pid)
    calls = [fast.bind(str(land.file("fast"))) for _ in range(60)]
    calls.append(app.task(tasks.hold_on).bind(str(land.file()), str(gate)))
    jobs = app.enqueue_many(calls)

    land.cluster(workers=1)
    until(lambda: lines(land.file()), "the slow one to start")

    if save:
        assert all(result.success for result in finals(jobs[:-1]))
    until(lambda: app.queue.size().leased == 1, "all but the slow one to be acknowledged")
    assert len(lines(land.file("fast"))) == 60
    gate.touch()
    assert final(jobs[-1]).success


def test_messages_behind_a_slow_task_are_run_by_another_worker(land: Land) -> None:
    """What a busy worker has not begun is given back at once."""
    app = land.app()
    gate = land.file("gate")
    calls = [app.task(tasks.echo).bind(n) for n in range(200)]
    calls.insert(60, app.task(tasks.hold_on).bind(str(land.file()), str(gate)))
    jobs = app.enqueue_many(calls)

    land.cluster(workers=2)

    results = finals([job for n, job in enumerate(jobs) if n != 60])
    assert [result.value for result in results] == list(range(200))
    assert all(result.attempts == 1 for result in results)
    assert jobs[60].fetch() is None
    gate.touch()
    assert final(jobs[60]).success


def test_failed_neighbour_of_a_slow_task_is_told_once(land: Land) -> None:
    """A failure settled for a busy worker is not settled again by it: it is retried on time, once."""
    app = land.app(retry=1, max_attempts=2)
    gate = land.file("gate")
    jobs = app.enqueue_many(
        [
            app.task(tasks.echo).bind(1),
            app.task(tasks.echo).bind(2),
            app.task(tasks.fail).bind("no", str(land.file("failed"))),
            app.task(tasks.hold_on).bind(str(land.file()), str(gate)),
        ]
    )

    land.cluster(workers=2, retry=1, max_attempts=2)

    assert (final(jobs[2]).attempts, len(lines(land.file("failed")))) == (2, 2)
    gate.touch()
    assert final(jobs[3]).success
    assert app.queue.size().dead_letters == 1


def test_slow_tasks_are_shared_out_however_they_come(land: Land) -> None:
    """Twenty tasks of a tenth of a second on two workers take one second, not two."""
    app, _ = land.both(workers=2)
    finals([app.enqueue(tasks.pid) for _ in range(4)])

    results = finals(app.enqueue_many([app.task(tasks.nap).bind(0.1)] * 20))

    pids = [result.value for result in results]
    assert all(6 <= pids.count(pid) <= 14 for pid in set(pids))
    assert len(set(pids)) == 2
