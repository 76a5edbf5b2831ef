"""Unique tasks, and limits on how many run: on real clusters."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.delivery import Delivery
from qcore.errors import BackendUnavailable, NotSupported
from qcore.testing import inline
from tests.integration import limited_tasks, tasks
from tests.integration.land import final, finals, kill, lines, until, worker_pids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.runtime import Runtime
    from qcore.tasks.call import Sealed
    from tests.integration.land import Land

pytestmark = pytest.mark.portable


# -- unique -----------------------------------------------------------------------------------


def test_a_unique_task_is_enqueued_once(land: Land) -> None:
    """While it has not ended, the same call gives the handle on it; other arguments are another task."""
    app = land.app()
    add = app.task(tasks.add).using(unique=True)

    first, again, other = add.enqueue(1, 2), add.enqueue(1, 2), add.enqueue(3, 4)

    assert (again.id, again.duplicate, first.duplicate) == (first.id, True, False)
    assert other.id != first.id
    assert app.queue.size().ready == 2
    land.cluster()
    assert [final(job).value for job in (first, again, other)] == [3, 3, 7]


def test_a_unique_task_that_has_ended_may_come_again(land: Land) -> None:
    """Whether it returned or failed for good, its key is free."""
    app, _ = land.both(max_attempts=1)

    for function, arguments in ((tasks.add, (1, 2)), (tasks.fail, ("no",))):
        task = app.task(function).using(unique="the one")
        job = task.enqueue(*arguments)
        final(job)

        again = until(functools.partial(_enqueued, task, arguments))

        assert again.id != job.id
        final(again)


def _enqueued(task: Any, arguments: tuple[Any, ...]) -> object:
    return _fresh(task.enqueue(*arguments))


def _fresh(job: object) -> object:
    return None if getattr(job, "duplicate", True) else job


def test_a_key_holds_for_a_window_whatever_became_of_its_task(land: Land) -> None:
    """With `unique_for` the same key is left out although the first has ended."""
    app, _ = land.both()
    add = app.task(tasks.add).using(unique="daily", unique_for=3600)

    job = add.enqueue(1, 2)

    assert final(job).value == 3
    assert [add.enqueue(5, 6).id for _ in range(3)] == [job.id] * 3
    short = app.task(tasks.add).using(unique="short", unique_for=0.2)
    final(short.enqueue(1, 1))
    until(lambda: _fresh(short.enqueue(1, 1)))


def test_a_unique_task_keeps_its_key_while_it_is_tried_again(land: Land) -> None:
    """A failed attempt does not end a job; cancelling does."""
    app, _ = land.both(retry=60, timeout=30)
    fail = app.task(tasks.fail).using(unique="tried")
    job = fail.enqueue("no")
    until(lambda: app.queue.size().delayed == 1, "its first failure")

    assert fail.enqueue("no").duplicate

    assert job.cancel()
    assert not fail.enqueue("no").duplicate


def test_a_unique_task_whose_worker_is_killed_for_good_gives_its_key_up(land: Land) -> None:
    """Crashes end a job too: whoever dead-letters it frees the key."""
    app, cluster = land.both(workers=1, max_crashes=1, retry=60)
    gate = land.file("gate")
    task = app.task(limited_tasks.begin).using(unique="killed")
    job = task.enqueue(str(land.file()), str(gate))
    until(lambda: lines(land.file()))

    kill(worker_pids(cluster)[0])

    assert final(job).crashes == 1
    gate.touch()
    until(lambda: _fresh(task.enqueue(str(land.file()), str(gate))))


def test_a_key_that_a_dead_worker_kept_is_taken_over(land: Land) -> None:
    """Killed between the acknowledgement and giving the key up, it locks nobody out."""
    app, _ = land.both()
    task = app.task(tasks.add).using(unique="kept")
    job = task.enqueue(1, 2)
    assert final(job).value == 3
    with app.runtime.coordination_stores.connection() as store:
        until(lambda: store.acquire("unique:kept", bytes.fromhex(job.id), 1, 60) is None)

    again = task.enqueue(1, 2)

    assert not again.duplicate
    assert final(again).value == 3


def test_what_could_not_be_enqueued_keeps_no_key(land: Land) -> None:
    """Else the next try would be told that the task is queued already."""
    app = land.app()
    task = app.task(tasks.add).using(unique="lost")

    class Broken(Delivery):
        def deliver(self, runtime: Runtime, sealed: Sequence[Sealed]) -> None:
            raise BackendUnavailable(f"{len(sealed)} messages lost on the way to {runtime.config.name}")

    with app.deliver_to(Broken()), pytest.raises(BackendUnavailable):
        task.enqueue(1, 2)

    assert not task.enqueue(1, 2).duplicate


def test_a_unique_task_runs_inline_as_often_as_it_is_asked(land: Land) -> None:
    """It has ended when `enqueue` returns."""
    app = land.app()
    task = app.task(tasks.add).using(unique="inline")

    with inline(app):
        jobs = [task.enqueue(1, 2) for _ in range(2)]

    assert [job.duplicate for job in jobs] == [False, False]
    assert [job.result() for job in jobs] == [3, 3]


def test_a_link_is_not_unique(land: Land) -> None:
    """What belongs to a flow cannot be left out of it."""
    app = land.app()
    task = app.task(tasks.add).using(unique=True)

    with pytest.raises(NotSupported, match="cannot be skipped"):
        app.chain([task.bind(1, 2), task.bind(3, 4)])


# -- how many at once -------------------------------------------------------------------------


def test_no_more_run_at_once_than_are_allowed(land: Land) -> None:
    """Two of thirty at a time, whatever the workers; other tasks are not held up."""
    app = land.app()
    task = app.task(limited_tasks.span).using(concurrency=2)
    jobs = app.enqueue_many([task.bind(str(land.file())) for _ in range(30)])
    others = app.enqueue_many([app.task(tasks.add).bind(n, n) for n in range(20)])

    land.cluster(workers=4)

    finals(others)
    finals(jobs, wait=60)
    assert limited_tasks.most_at_once(lines(land.file())) == 2
    assert len(lines(land.file())) == 60


def test_tasks_share_a_limit_by_its_key(land: Land) -> None:
    """`limit_key` joins tasks of several names and parts those of one."""
    app = land.app()
    one = app.task(limited_tasks.span).using(concurrency=1, limit_key="tenant 1")
    other = app.task(limited_tasks.span).using(concurrency=1, limit_key="tenant 2")
    jobs = app.enqueue_many(
        [task.bind(str(land.file(name))) for task, name in ((one, "1"), (other, "2")) for _ in range(6)]
    )

    land.cluster(workers=4)

    finals(jobs, wait=60)
    assert [limited_tasks.most_at_once(lines(land.file(name))) for name in ("1", "2")] == [1, 1]


def test_waiting_for_a_place_is_no_attempt(land: Land) -> None:
    """A task that was released until its rate slot is run for the first time in that slot."""
    app = land.app(max_attempts=1)
    gate = land.file("gate")
    task = app.task(limited_tasks.begin).using(concurrency=1)
    jobs = [task.enqueue(str(land.file()), str(gate)) for _ in range(3)]
    land.cluster(workers=2, max_attempts=1)
    until(lambda: app.queue.size().delayed == 2, "the others to be put off")
    until(lambda: lines(land.file()), "the first to begin")
    assert lines(land.file()) == ["begun"]

    gate.touch()

    assert [final(job).attempts for job in jobs] == [1, 1, 1]


def test_the_place_of_a_killed_worker_is_given_to_the_next(land: Land) -> None:
    """Killed with -9 in the middle of the task, it leaves nobody locked out."""
    app, cluster = land.both(workers=2, max_crashes=1)
    gate = land.file("gate")
    task = app.task(limited_tasks.begin).using(concurrency=1)
    job = task.enqueue(str(land.file()), str(gate))
    until(lambda: lines(land.file()) == ["begun"])
    busy = [worker.pid for worker in until(lambda: [w for w in cluster.status().workers if w.running_for])]
    waiting = task.enqueue(str(land.file()), str(gate))

    kill(busy[0])
    final(job)
    gate.touch()

    assert final(waiting).success


def test_a_timed_out_task_gives_its_place_up(land: Land) -> None:
    """Softly or by force, the next one runs."""
    app, _ = land.both(workers=1, ack_failures=True)
    sleep = app.task(name="time.sleep")(time.sleep).using(concurrency=1)
    late = sleep.using(timeout=0.5).enqueue(60.0)

    assert final(late).kind == "timeout"
    assert final(sleep.enqueue(0.0)).success


# -- how many in a time -----------------------------------------------------------------------


def test_starts_are_a_rate_apart(land: Land) -> None:
    """Ten a second: each begins a tenth of a second behind the one before, or later."""
    app = land.app()
    task = app.task(limited_tasks.stamp).using(rate="10/s")
    jobs = app.enqueue_many([task.bind(str(land.file())) for _ in range(12)])

    land.cluster(workers=3)

    finals(jobs)
    times = sorted(float(line) for line in lines(land.file()))
    assert len(times) == 12
    # each turn is 0.1 s behind the one before; a slow machine may begin one late, and the next in time
    assert times[-1] - times[0] >= 11 * 0.1 - 0.2


@pytest.mark.parametrize("rate", ["10", "0/s", "ten/s", "10/year", (0, 1.0), (1, 0.0)])
def test_a_rate_that_is_none_is_told(land: Land, rate: Any) -> None:
    """The message shows how one is written."""
    with pytest.raises(ValueError, match="rate"):
        land.app().task(tasks.add).using(rate=rate).enqueue(1, 2)


def test_a_limit_below_one_is_told(land: Land) -> None:
    """None at all would never run."""
    with pytest.raises(ValueError, match="concurrency must be 1 or more, got 0"):
        land.app().task(tasks.add).using(concurrency=0)
