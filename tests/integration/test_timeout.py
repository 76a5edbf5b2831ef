"""A task ends at its timeout, whatever it does about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore import State
from tests.integration import tasks
from tests.integration.land import final, lines, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.land import Land

#: seconds of the timeouts here, and the most a late end may take: a second of grace and some for the machine
SHORT = 0.5
MOST = 20.0


def test_late_task_is_interrupted_and_its_worker_goes_on(land: Land) -> None:
    """A sleeping task gets an exception at its timeout; the worker is kept."""
    app, cluster = land.both(workers=1, timeout=SHORT, ack_failures=True)
    before = app.enqueue(tasks.pid).result(wait=100)

    job = app.enqueue(tasks.tidy_up, str(land.file()))
    result = final(job)

    assert result.state is State.FAILED
    assert result.error == "TaskTimeout: the task ran longer than its timeout of 0.5 seconds"
    assert "tidy_up" in result.traceback
    assert SHORT <= result.run_time < MOST
    assert lines(land.file()) == ["cleaned up"]
    assert app.enqueue(tasks.pid).result(wait=100) == before
    assert dict(cluster.status().reincarnations) == {}


@pytest.mark.parametrize(
    "function", [tasks.burn, tasks.deaf, tasks.stubborn], ids=lambda task: str(task.__name__)
)
def test_worker_of_a_task_that_cannot_be_interrupted_is_killed(
    land: Land, function: Callable[..., Any]
) -> None:
    """C code that holds the GIL, blocked signals and caught exceptions do not escape the timeout."""
    app, cluster = land.both(workers=1, timeout=SHORT, ack_failures=True)

    result = final(app.enqueue(function, str(land.file())))

    assert result.state is State.FAILED
    assert result.error == "TaskTimeout: the task ran longer than its timeout of 0.5 seconds"
    assert result.crashes == 0
    assert SHORT <= result.run_time < MOST
    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2
    assert dict(cluster.status().reincarnations) == {"timeout": 1}


@pytest.mark.parametrize("function", [tasks.power, tasks.backtrack], ids=lambda task: str(task.__name__))
def test_long_computation_in_c_ends_at_its_timeout(land: Land, function: Callable[..., Any]) -> None:
    """A huge power and a backtracking expression end in time, one way or the other."""
    app, _ = land.both(workers=1, timeout=SHORT, ack_failures=True)

    result = final(app.enqueue(function, str(land.file())))

    assert result.error == "TaskTimeout: the task ran longer than its timeout of 0.5 seconds"
    assert SHORT <= result.run_time < MOST


def test_late_coroutine_is_cancelled_and_the_loop_goes_on(land: Land) -> None:
    """An async task is cancelled at its timeout, and the next one runs in the same worker."""
    app, cluster = land.both(workers=1, timeout=SHORT, ack_failures=True)

    late = final(app.enqueue(tasks.sleep_async, 60, str(land.file())))
    after = final(app.enqueue(tasks.sleep_async, 0.01))

    assert late.error == "TaskTimeout: the task ran longer than its timeout of 0.5 seconds"
    assert lines(land.file()) == ["cancelled"]
    assert after.value == "slept"
    assert dict(cluster.status().reincarnations) == {}


def test_worker_of_a_coroutine_that_blocks_the_loop_is_killed(land: Land) -> None:
    """A coroutine that never gives way is ended with its worker."""
    app, cluster = land.both(workers=1, timeout=SHORT, ack_failures=True)

    result = final(app.enqueue(tasks.block_loop))

    assert result.error == "TaskTimeout: the task ran longer than its timeout of 0.5 seconds"
    assert app.enqueue(tasks.sleep_async, 0.01).result(wait=100) == "slept"
    assert dict(cluster.status().reincarnations) == {"timeout": 1}


def test_own_timeout_of_a_task_replaces_the_configured_one(land: Land) -> None:
    """A task may be given less time, more, or with None all the time it wants."""
    app, _ = land.both(workers=3, timeout=1.0, ack_failures=True)

    began = time.time()
    less = app.task(timeout=0.2)(tasks.nap).enqueue(30)
    more = app.task(timeout=30)(tasks.nap).enqueue(1.5)
    never = app.task(timeout=None)(tasks.nap).enqueue(1.6)

    assert final(less).error == "TaskTimeout: the task ran longer than its timeout of 0.2 seconds"
    assert final(less).finished - began < 1.0 + MOST
    assert (final(more).state, final(never).state) == (State.SUCCESS, State.SUCCESS)


@pytest.mark.parametrize("no_limit", [None, -1, 0])
def test_call_of_the_specification_switches_the_timeout_off(land: Land, no_limit: float | None) -> None:
    """`async_task(..., timeout=None)` runs without limit; so does Django-Q's -1."""
    app, _ = land.both(workers=1, timeout=0.3, ack_failures=True)

    task_id = app.async_task(tasks.nap, 0.8, timeout=no_limit)

    assert app.results.get(task_id, wait=100)


def test_late_task_is_run_again_and_counts_as_a_failure(land: Land) -> None:
    """A timeout is charged to the attempts, not to the crashes, and the task runs again."""
    app, _ = land.both(workers=1, timeout=0.3, retry=1, max_attempts=2)

    soft = app.enqueue(tasks.nap, 30, str(land.file("soft")))
    hard = app.enqueue(tasks.deaf, str(land.file("hard")))

    assert (final(soft).attempts, final(soft).crashes) == (2, 0)
    assert (final(hard).attempts, final(hard).crashes) == (2, 0)
    assert (len(lines(land.file("soft"))), len(lines(land.file("hard")))) == (2, 2)
    until(lambda: app.queue.size().dead_letters == 2)


def test_interruption_swallowed_by_one_task_is_not_charged_to_the_next(land: Land) -> None:
    """A task that returns although it was interrupted succeeds, and leaves no trace in its worker."""
    app, _ = land.both(workers=1, timeout=0.3, ack_failures=True)

    swallowed = app.enqueue(tasks.swallow_once)
    innocent = app.enqueue(tasks.raise_it, "cancelled")

    assert final(swallowed).value == "late but done"
    assert final(innocent).error == "CancelledError"


def test_neighbours_of_a_killed_task_are_not_hurt(land: Land) -> None:
    """What one batch holds beside a task that is killed is run once each and succeeds."""
    app = land.app(timeout=0.3, ack_failures=True)
    note = str(land.file())
    calls = [app.task(tasks.pid).bind(note) for _ in range(30)]
    calls.insert(15, app.task(tasks.deaf).bind(str(land.file("deaf"))))
    jobs = app.enqueue_many(calls)

    land.cluster(workers=1, timeout=0.3, ack_failures=True)

    results = [final(job) for job in jobs]
    assert [result.state is State.SUCCESS for result in results].count(False) == 1
    assert len(lines(land.file())) == 30


def test_status_tells_how_long_a_task_has_been_running(land: Land) -> None:
    """The status of a busy worker names the state and the seconds."""
    app, cluster = land.both(workers=1)
    gate = land.file("gate")
    app.enqueue(tasks.hold_on, str(land.file()), str(gate))

    worker = until(lambda: next((w for w in cluster.status().workers if w.running_for > 0.3), None))
    gate.touch()

    assert worker.state == "busy"
    until(lambda: cluster.status().state == "idle")
