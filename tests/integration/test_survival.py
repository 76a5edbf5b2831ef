"""The worker survives the task."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qcore import State
from tests.integration import tasks
from tests.integration.land import alive, final, finals, lines, until

if TYPE_CHECKING:
    from tests.integration.land import Land

RAISED = {
    "exit": "SystemExit",
    "exit-code": "SystemExit: 3",
    "interrupt": "KeyboardInterrupt",
    "generator": "GeneratorExit",
    "timeout": "TaskTimeout",
    "cancelled": "CancelledError",
    "stop": "StopIteration",
    "memory": "MemoryError",
    "base": "BaseException",
    "mute": "Mute: (its text cannot be shown)",
    "mute-exit": "Mute: (its text cannot be shown)",
    "surrogate": "ValueError: \\ud800",
    "group": "ExceptionGroup: several (2 sub-exceptions)",
}


@pytest.mark.parametrize("function", [tasks.raise_it, tasks.raise_async], ids=["sync", "async"])
def test_whatever_a_task_raises_is_a_failure_and_its_worker_goes_on(land: Land, function: object) -> None:
    """SystemExit and its like end the task, never the worker; each is recorded with its text."""
    app, cluster = land.both(workers=1, ack_failures=True)
    before = app.enqueue(tasks.pid).result(wait=100)

    jobs = {kind: app.enqueue(function, kind) for kind in RAISED}  # type: ignore[call-overload]  # one of two functions
    results = {kind: final(job) for kind, job in jobs.items()}

    told = {kind: result.error for kind, result in results.items()}
    expected = dict(RAISED)
    if function is tasks.raise_async:
        # Python turns it into this inside a coroutine
        expected["stop"] = "RuntimeError: coroutine raised StopIteration"
    assert told == expected
    assert all(result.state is State.FAILED for result in results.values())
    assert app.enqueue(tasks.pid).result(wait=100) == before
    assert dict(cluster.status().reincarnations) == {}


def test_error_texts_and_tracebacks_are_cut_to_a_bound(land: Land) -> None:
    """Ten megabytes of error text cost kilobytes, as does the traceback of a deep recursion."""
    app, cluster = land.both(workers=1, ack_failures=True)

    long = final(app.enqueue(tasks.raise_it, "long"))
    deep = final(app.enqueue(tasks.recurse))
    greedy = final(app.enqueue(tasks.greedy))

    assert len(long.error) == 4096
    assert len(long.traceback) <= 16384
    assert deep.error.startswith("RecursionError: maximum recursion depth exceeded")
    assert "recurse" in deep.traceback
    assert greedy.error.startswith("MemoryError")
    assert dict(cluster.status().reincarnations) == {}


@pytest.mark.parametrize("kind", ["lock", "generator", "loop", "deep"])
def test_result_that_cannot_be_written_is_told_and_not_run_again(land: Land, kind: str) -> None:
    """Whatever a task returns, the worker lives; what cannot be written is a failure that says so."""
    app, cluster = land.both(workers=1, retry=1)

    result = final(app.enqueue(tasks.unwritable, kind))

    assert result.state is State.FAILED
    assert result.error.startswith("the task returned, but its result cannot be stored: ")
    assert (result.attempts, result.crashes) == (1, 0)
    assert dict(cluster.status().reincarnations) == {}


@pytest.mark.parametrize("value", [1 << 100_000, "\ud800"], ids=["huge-int", "surrogate"])
def test_odd_values_travel_both_ways(land: Land, value: object) -> None:
    """Integers of any size and texts no file could hold arrive and come back."""
    app, _ = land.both(workers=1)

    assert app.enqueue(tasks.echo, value).result(wait=100) == value


def test_large_result_arrives_whole(land: Land) -> None:
    """Ten megabytes, ten times what the journal holds, come back."""
    app, cluster = land.both(workers=1)

    jobs = [app.enqueue(tasks.blob, 10 << 20), app.enqueue(tasks.blob, 3), app.enqueue(tasks.blob, 2 << 20)]

    assert [len(result.value) for result in finals(jobs)] == [10 << 20, 3, 2 << 20]
    assert dict(cluster.status().reincarnations) == {}


@pytest.mark.parametrize("function", [tasks.close_files, tasks.close_and_take], ids=["closed", "taken"])
def test_task_that_closes_every_file_has_succeeded_and_hurts_nobody(land: Land, function: object) -> None:
    """It ran and returned: its result is kept although its worker cannot go on, and it is not repeated."""
    app, cluster = land.both(workers=1, retry=1)

    closed = final(app.enqueue(function, str(land.file())))  # type: ignore[call-overload]  # one of two functions
    after = finals([app.enqueue(tasks.add, n, n) for n in range(20)])

    assert closed.success
    assert lines(land.file()) == [str(n) for n in [closed.worker.rpartition(":")[2]]]
    assert [result.value for result in after] == [2 * n for n in range(20)]
    assert sum(cluster.status().reincarnations.values()) == 1
    until(lambda: app.queue.size().leased == 0)


def test_next_task_finds_its_surroundings_as_they_were(land: Land) -> None:
    """Working directory, umask, handlers and the signal mask are restored after each task."""
    app, _ = land.both(workers=1, timeout=0.5, ack_failures=True)
    before = app.enqueue(tasks.surroundings).result(wait=100)

    app.enqueue(tasks.disturb).result(wait=100)
    after = app.enqueue(tasks.surroundings).result(wait=100)
    late = final(app.enqueue(tasks.tidy_up, str(land.file())))

    assert after == before
    assert late.error.startswith("TaskTimeout")
    assert lines(land.file()) == ["cleaned up"]


def test_disturbed_worker_still_stops_when_told(land: Land) -> None:
    """A task that ignores SIGTERM does not keep its cluster from stopping."""
    app, cluster = land.both(workers=1)
    app.enqueue(tasks.disturb).result(wait=100)
    supervisor = cluster.pid
    status = cluster.status()

    cluster.stop(timeout=15)

    assert supervisor is not None
    assert not alive(supervisor)
    assert dict(status.reincarnations) == {}


@pytest.mark.parametrize("how", ["return", "raise", "exit"])
def test_forked_child_that_comes_back_is_not_a_second_worker(land: Land, how: str) -> None:
    """A task forks and its child runs on into qcore: it ends there, and there is one result."""
    app, cluster = land.both(workers=1, ack_failures=True)

    result = final(app.enqueue(tasks.fork, how, str(land.file())))
    after = app.enqueue(tasks.pid).result(wait=100)

    assert result.value == after
    assert lines(land.file()) == ["child", "parent"]
    until(lambda: cluster.status().finished == 2)


def test_task_may_use_threads_and_processes_of_its_own(land: Land) -> None:
    """Threads, a multiprocessing pool and subprocesses work inside a task."""
    app, cluster = land.both(workers=1)

    assert app.enqueue(tasks.family).result(wait=100) == [0, 1, 2, 3, 4, 5]
    assert app.enqueue(tasks.leave_thread).result(wait=100) == "left"
    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2
    assert dict(cluster.status().reincarnations) == {}


def test_child_process_of_a_task_can_be_terminated(land: Land) -> None:
    """A child that a task forks does not keep the worker's way of taking signals."""
    app, _ = land.both(workers=1)

    def ended(name: str, *, started: bool) -> int:
        status: int = app.enqueue(tasks.terminate_child, name, started=started).result(wait=100)
        return status

    assert [ended("SIGTERM", started=started) for started in (False, True)] == [-15, -15]
    assert [ended("SIGALRM", started=started) for started in (False, True)] == [-14, -14]
    assert app.enqueue(tasks.interrupt_program).result(wait=100) == -2
    # Python turns it into KeyboardInterrupt, which ends the child with status 1
    assert ended("SIGINT", started=True) == 1


def test_worker_with_a_thread_left_running_can_be_recycled_and_stopped(land: Land) -> None:
    """A thread that never ends does not keep its worker from leaving."""
    app, cluster = land.both(workers=1, recycle=1)

    finals([app.enqueue(tasks.leave_thread) for _ in range(3)])

    until(lambda: cluster.status().reincarnations.get("recycled") == 3)


@pytest.mark.parametrize("daemonize", [True, False])
def test_children_of_a_worker_end_with_it_only_if_it_is_daemonized(land: Land, daemonize: bool) -> None:
    """With `daemonize_workers` what a worker started ends with it; without, it is left alone."""
    app, cluster = land.both(workers=1, daemonize_workers=daemonize)
    child = app.enqueue(tasks.orphan, str(land.file())).result(wait=100)
    assert alive(child)

    cluster.stop()

    try:
        if daemonize:
            until(lambda: not alive(child), "the child to end")
        else:
            assert alive(child)
    finally:
        if not daemonize:
            os.kill(child, 9)


def test_children_of_a_crashed_worker_end_too(land: Land) -> None:
    """A worker that is killed takes its children along, while the cluster goes on."""
    app, _ = land.both(workers=1, max_crashes=1)
    child = app.enqueue(tasks.orphan, str(land.file())).result(wait=100)

    final(app.enqueue(tasks.die, "kill"))

    until(lambda: not alive(child), "the child to end")


def test_task_that_prints_megabytes_holds_nobody_up(land: Land) -> None:
    """Output of tasks goes where the program's goes, and no protocol is in its way."""
    app, _ = land.both(workers=1)

    assert app.enqueue(tasks.shout, 5).result(wait=100) == "shouted"
    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2


def test_task_may_enqueue_further_tasks(land: Land) -> None:
    """What a task enqueues is worked on like anything else."""
    app, _ = land.both()

    ids = app.enqueue(tasks.spread, land.settings(), 20).result(wait=100)

    assert [app.results.get(task_id, wait=100) for task_id in ids] == [2 * n for n in range(20)]


def test_task_left_running_in_the_loop_ends_with_the_coroutine_that_made_it(land: Land) -> None:
    """What a coroutine leaves behind is cancelled before the next task begins."""
    app, _ = land.both(workers=1)

    assert app.enqueue(tasks.leave_running, str(land.file())).result(wait=100) == "left"
    assert lines(land.file()) == ["ended"]
