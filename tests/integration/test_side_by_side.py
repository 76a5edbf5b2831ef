"""Asynchronous tasks that run at once in one worker keep every promise that one task alone has."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from qcore import Retry
from qcore.errors import ConfigError
from qcore.model import State
from tests.integration import many_tasks, tasks
from tests.integration.land import final, finals, kill, lines, until, worker_pids

if TYPE_CHECKING:
    from pathlib import Path

    from qcore import App, Job
    from tests.integration.land import Land

#: how many run at once in these tests
MANY = 10
#: one worker, so that what runs at once does so in one process
ONE: dict[str, Any] = {
    "workers": 1,
    "save_limit": 0,
    "preload": ["tests.integration.many_tasks"],
    "coroutines": MANY,
}


@pytest.fixture
def gate(land: Land) -> Path:
    """Return the file that tasks wait for."""
    return land.file("gate")


def waiting(
    land: Land, app: App, count: int, task: Any = many_tasks.wait_for, **options: Any
) -> list[Job[Any]]:
    """Enqueue tasks that wait for the gate, and return once all of them run."""
    seen, path = len(lines(land.file())), str(land.file())
    declared = app.task(**options)(task) if options else app.task(task)
    calls = [declared.bind(str(land.file("gate")), path, number) for number in range(count)]
    jobs = app.enqueue_many(calls)
    until(lambda: len(lines(land.file())) >= seen + count, f"{count} tasks to run at once")
    return jobs


def test_a_worker_runs_as_many_coroutines_at_once_as_it_may(land: Land, gate: Path) -> None:
    """All wait for the same file, and none for another."""
    app, cluster = land.both(**ONE)

    jobs = waiting(land, app, MANY)
    (pid,) = worker_pids(cluster)
    gate.touch()

    assert list(range(MANY)) == [one.value for one in finals(jobs)]
    assert [pid] == worker_pids(cluster)


def test_others_begin_at_once_beside_the_first(land: Land, gate: Path) -> None:
    """What waits when the cluster starts is leased before anything of the first task is waited for."""
    app = land.app()
    calls = [app.task(many_tasks.wait_for).bind(str(gate), str(land.file()), one) for one in range(MANY)]
    jobs = app.enqueue_many(calls)

    land.cluster(**ONE | {"preload": [*ONE["preload"], "tests.integration.long_waits"]})
    until(lambda: len(lines(land.file())) == MANY, "all to run at once")
    gate.touch()

    assert list(range(MANY)) == [one.value for one in finals(jobs)]


def test_a_free_place_is_taken_while_others_are_still_busy(land: Land, gate: Path) -> None:
    """Results come, and tasks begin, whatever runs on beside them."""
    app, _ = land.both(**ONE | {"coroutines": 2})
    (long,) = waiting(land, app, 1)

    short = app.enqueue_many([app.task(many_tasks.add).bind(1, number) for number in range(30)])

    assert list(range(1, 31)) == [one.value for one in finals(short)]
    assert long.fetch() is None
    gate.touch()
    assert final(long).value == 0


def test_each_has_its_own_context(land: Land, gate: Path) -> None:
    """Context variables, `current` and progress are those of the task, in its threads too."""
    app, cluster = land.both(**ONE)
    task = app.task(many_tasks.about_me)
    jobs = [task.enqueue(str(gate), str(land.file()), name) for name in ("ann", "bob", "cid")]
    until(lambda: len(lines(land.file())) == 3)

    until(lambda: cluster.status().workers[0].progress, "progress of one of them")
    gate.touch()

    for job, name in zip(jobs, ("ann", "bob", "cid"), strict=True):
        result = final(job)
        assert (name, job.id, job.id) == tuple(result.value)
        assert result.progress is not None
        assert name == result.progress.note


def test_a_late_one_is_cancelled_and_its_neighbours_go_on(land: Land, gate: Path) -> None:
    """The same process goes on."""
    app, cluster = land.both(**ONE | {"max_attempts": 1})
    neighbours = waiting(land, app, 3)
    (pid,) = worker_pids(cluster)

    (late,) = waiting(land, app, 1, many_tasks.wait_and_clean, timeout=0.2)

    result = final(late)
    assert "TaskTimeout: the task ran longer than its timeout of 0.2 seconds" in str(result.error)
    assert "cancelled 0" in lines(land.file())
    gate.touch()
    assert [State.SUCCESS] * 3 == [one.state for one in finals(neighbours)]
    assert [pid] == worker_pids(cluster)


def test_a_cancelled_one_leaves_its_neighbours_alone(land: Land, gate: Path) -> None:
    """Only the task that was cancelled is interrupted."""
    app, cluster = land.both(**ONE)
    neighbours = waiting(land, app, 3, many_tasks.wait_and_clean)
    (pid,) = worker_pids(cluster)

    neighbours[1].cancel()

    result = final(neighbours.pop(1))
    assert "TaskCancelled" in str(result.error)
    gate.touch()
    assert [0, 2] == [one.value for one in finals(neighbours)]
    assert [pid] == worker_pids(cluster)


def test_who_blocks_the_loop_too_long_is_charged_alone(land: Land, gate: Path) -> None:
    """The worker is killed; its neighbours are released at once, and nothing is charged to them."""
    app, cluster = land.both(**ONE | {"max_attempts": 1})
    neighbours = waiting(land, app, 3)
    (pid,) = worker_pids(cluster)

    late = app.task(timeout=0.3)(many_tasks.block).enqueue(str(land.file()), str(gate))

    result = final(late)
    assert "TaskTimeout" in str(result.error)
    until(lambda: len(lines(land.file())) >= 7, "the neighbours to run again")
    gate.touch()
    assert [(State.SUCCESS, 1, 0)] * 3 == [
        (one.state, one.attempts, one.crashes) for one in finals(neighbours)
    ]
    assert [pid] != worker_pids(cluster)


def test_a_stop_lets_them_finish(land: Land, gate: Path) -> None:
    """What runs ends, and what has not begun stays in the queue."""
    app, cluster = land.both(**ONE | {"shutdown_timeout": 30})
    jobs = waiting(land, app, 3)
    until(lambda: cluster.status().workers[0].running == 3)

    stopping = threading.Thread(target=cluster.stop)
    stopping.start()
    gate.touch()
    stopping.join()

    assert [0, 1, 2] == [one.value for one in finals(jobs)]


def test_a_stop_that_does_not_wait_releases_them_uncharged(land: Land, gate: Path) -> None:
    """The next cluster runs them, in their first attempt."""
    app, cluster = land.both(**ONE)
    jobs = waiting(land, app, 5)

    cluster.stop(timeout=0)
    land.cluster(**ONE)
    gate.touch()

    assert [(1, 0)] * 5 == [(one.attempts, one.crashes) for one in finals(jobs)]


def test_nobody_is_charged_for_a_death_that_any_of_them_may_have_caused(land: Land, gate: Path) -> None:
    """Each runs again alone, one after the other."""
    app, cluster = land.both(**ONE | {"max_crashes": 1})
    jobs = waiting(land, app, 4)
    kill(worker_pids(cluster)[0])

    # Alone, the first holds up the others until the gate is open.
    until(lambda: len(lines(land.file())) == 5, "the first to run again")
    gate.touch()

    assert [(State.SUCCESS, 0)] * 4 == [(one.state, one.crashes) for one in finals(jobs)]
    assert len(lines(land.file())) == 8


def test_one_that_dies_alone_is_charged(land: Land) -> None:
    """It is dead-lettered after `max_crashes` runs that it was alone in, and no neighbour is."""
    app = land.app(**ONE | {"max_crashes": 2})
    good = app.task(many_tasks.record)
    calls = [good.bind(str(land.file("good")), number, 0.05) for number in range(20)]
    calls.insert(5, app.task(many_tasks.poison).bind(str(land.file())))
    jobs = app.enqueue_many(calls)
    victim = jobs.pop(5)

    land.cluster(**ONE | {"max_crashes": 2})

    result = final(victim)
    assert (State.FAILED, 2) == (result.state, result.crashes)
    assert [(State.SUCCESS, 0)] * 20 == [(one.state, one.crashes) for one in finals(jobs)]
    assert set(map(str, range(20))) == set(lines(land.file("good")))


def test_leases_of_all_are_renewed(land: Land, gate: Path) -> None:
    """None is handed out a second time while it runs."""
    app, cluster = land.both(**ONE | {"retry": 1.0})
    jobs = waiting(land, app, 3)

    until(lambda: cluster.status().counts.renewals >= 9, "three renewals of each")
    gate.touch()

    assert [0, 1, 2] == [one.value for one in finals(jobs)]
    assert len(lines(land.file())) == 3


def test_a_limit_counts_them(land: Land, gate: Path) -> None:
    """Of ten places two are used."""
    app, cluster = land.both(**ONE)
    limited = app.task(concurrency=2)(many_tasks.wait_for)
    jobs = [limited.enqueue(str(gate), str(land.file()), number) for number in range(4)]
    other = app.task(many_tasks.add).enqueue(1, 2)

    assert final(other).value == 3
    until(lambda: len(lines(land.file())) == 2)
    assert cluster.status().workers[0].running == 2
    gate.touch()

    assert [0, 1, 2, 3] == [one.value for one in finals(jobs)]


def test_runs_and_waits_of_all_are_counted(land: Land, gate: Path) -> None:
    """Each that ends is placed by its own wait, whatever was leased meanwhile."""
    app, cluster = land.both(**ONE)
    jobs = waiting(land, app, 3)
    quick = app.enqueue_many([app.task(many_tasks.add).bind(1, number) for number in range(20)])
    finals(quick)
    gate.touch()
    finals(jobs)

    def counted() -> Any:
        found = {
            name.rpartition(".")[2]: (one.runs, sum(one.success_times), sum(one.wait_times))
            for name, one in cluster.status().counts.tasks.items()
        }
        return found == {"wait_for": ({"success": 3}, 3, 3), "add": ({"success": 20}, 20, 20)}

    until(counted, "all to be counted")


def test_failures_are_retried_and_told_like_any(land: Land, gate: Path) -> None:
    """A neighbour sees nothing of it."""
    app, _ = land.both(**ONE | {"max_attempts": 2, "retry": 30})
    neighbours = waiting(land, app, 2)
    job = app.task(retry=Retry(max_attempts=2, backoff=0.0))(tasks.raise_async).enqueue("value")

    result = final(job)
    assert (State.FAILED, 2) == (result.state, result.attempts)
    assert result.traceback.splitlines()[1].endswith("in raise_async")
    gate.touch()
    assert [0, 1] == [one.value for one in finals(neighbours)]


def test_functions_run_beside_coroutines(land: Land, gate: Path) -> None:
    """A plain function waits for no coroutine, and a loop of its own works in it."""
    app, _ = land.both(**ONE)
    coroutines = waiting(land, app, 2)

    assert final(app.task(tasks.add).enqueue(1, 2)).value == 3
    assert final(app.task(many_tasks.runs_a_loop).enqueue()).value == 3
    assert final(app.task(many_tasks.uses_libraries).enqueue()).value == [3, 5, 7]
    gate.touch()
    assert [0, 1] == [one.value for one in finals(coroutines)]


def test_a_subtask_does_not_outlive_its_task(land: Land, gate: Path) -> None:
    """It is cancelled, and the subtasks of others are not."""
    app, _ = land.both(**ONE)
    neighbours = waiting(land, app, 1)

    assert final(app.task(many_tasks.asks_subtasks).enqueue(str(land.file()))).value == "False"

    assert lines(land.file())[-1] == "ended"
    gate.touch()
    assert [0] == [one.value for one in finals(neighbours)]


def test_one_that_runs_at_most_once_is_alone(land: Land, gate: Path) -> None:
    """It waits until the others have ended, and is acknowledged before it begins."""
    app, cluster = land.both(**ONE)
    neighbours = waiting(land, app, 2)
    once = app.task(at_most_once=True)(many_tasks.nap).enqueue(0.0)
    until(lambda: cluster.status().workers[0].running == 2)
    gate.touch()

    assert final(once).value == worker_pids(cluster)[0]
    assert [0, 1] == [one.value for one in finals(neighbours)]
    assert os.getpid() != final(once).value


# -- threads ------------------------------------------------------------------------------------

#: one worker with threads
THREADS: dict[str, Any] = ONE | {"threads": 4}


def test_a_worker_runs_as_many_functions_at_once_as_it_has_threads(land: Land, gate: Path) -> None:
    """All wait for the same file; what comes after them takes their places."""
    app, cluster = land.both(**THREADS)
    jobs = waiting(land, app, 4, many_tasks.hold_thread)
    after = app.enqueue_many([app.task(tasks.add).bind(1, number) for number in range(20)])
    (pid,) = worker_pids(cluster)
    gate.touch()

    assert [0, 1, 2, 3] == [one.value for one in finals(jobs)]
    assert list(range(1, 21)) == [one.value for one in finals(after)]
    assert [pid] == worker_pids(cluster)


def test_a_late_function_is_interrupted_in_its_thread(land: Land, gate: Path) -> None:
    """While it runs Python, nobody else is hurt."""
    app, cluster = land.both(**THREADS | {"max_attempts": 1})
    neighbours = waiting(land, app, 2, many_tasks.hold_thread)
    (pid,) = worker_pids(cluster)

    late = app.task(timeout=0.3)(many_tasks.spin).enqueue(str(land.file()))

    assert "TaskTimeout" in str(final(late).error)
    gate.touch()
    assert [0, 1] == [one.value for one in finals(neighbours)]
    assert [pid] == worker_pids(cluster)


def test_a_late_function_that_does_not_end_takes_its_worker_with_it(land: Land, gate: Path) -> None:
    """Its neighbours are released, and nothing is charged to them."""
    app, cluster = land.both(**THREADS | {"max_attempts": 1})
    neighbours = waiting(land, app, 2, many_tasks.hold_thread)
    (pid,) = worker_pids(cluster)

    late = app.task(timeout=0.3)(many_tasks.sleep_long).enqueue(str(land.file()))

    assert "TaskTimeout" in str(final(late).error)
    until(lambda: len(lines(land.file())) >= 5, "the neighbours to run again")
    gate.touch()
    assert [(1, 0)] * 2 == [(one.attempts, one.crashes) for one in finals(neighbours)]
    assert [pid] != worker_pids(cluster)


def test_a_cancelled_function_leaves_its_neighbours_alone(land: Land, gate: Path) -> None:
    """Only the thread of the task that was cancelled is interrupted."""
    app, cluster = land.both(**THREADS)
    neighbours = waiting(land, app, 2, many_tasks.hold_thread)
    (pid,) = worker_pids(cluster)
    job = app.task(many_tasks.spin).enqueue(str(land.file()))
    until(lambda: len(lines(land.file())) == 3)

    job.cancel()

    assert "TaskCancelled" in str(final(job).error)
    gate.touch()
    assert [0, 1] == [one.value for one in finals(neighbours)]
    assert [pid] == worker_pids(cluster)


def test_a_task_that_wants_to_be_alone_is(land: Land, gate: Path) -> None:
    """It begins when its neighbours have ended, and nothing begins beside it."""
    app, cluster = land.both(**THREADS)
    neighbours = waiting(land, app, 2, many_tasks.hold_thread)
    alone = app.enqueue(many_tasks.alone_in_the_main_thread, str(land.file()))
    until(lambda: cluster.status().workers[0].running == 2)
    gate.touch()

    assert final(alone).value is True
    assert [0, 1] == [one.value for one in finals(neighbours)]


def test_alone_excludes_a_limit_that_waits(land: Land) -> None:
    """One error says both, when the task is declared."""
    app = land.app()

    with pytest.raises(ValueError, match="alone=True excludes concurrency=2"):
        app.task(alone=True, concurrency=2)(many_tasks.nap)
    with pytest.raises(TypeError, match="alone must be True or False, got 'yes'"):
        app.task(alone="yes")(many_tasks.nap)  # type: ignore[call-overload]  # what is refused


@pytest.mark.parametrize("setting", ["threads", "coroutines"])
def test_none_at_once_is_refused(land: Land, setting: str) -> None:
    """The message says what 1 means."""
    with pytest.raises(ConfigError, match=f"{setting}: got 0; must be a whole number of 1 or more"):
        land.app(**{setting: 0})


def test_what_blocks_a_loop_is_told(land: Land, gate: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The log names the task, and the line that blocks."""
    app, _ = land.both(**ONE)

    job = app.task(many_tasks.block).enqueue(str(land.file()), str(gate))

    seen = ""

    def told() -> bool:
        nonlocal seen
        seen += capfd.readouterr().err
        return "has blocked the event loop of its worker" in seen and "time.sleep(0.005)" in seen

    until(told, "a line in the log")
    assert f"task {job.id}" in seen
    gate.touch()
    assert final(job).value is None


def test_coroutines_run_on_uvloop_where_that_is_wanted(land: Land) -> None:
    """They are cancelled, have subtasks and threads there as on the loop of asyncio."""
    pytest.importorskip("uvloop")
    app, _ = land.both(**ONE | {"event_loop": "uvloop", "max_attempts": 1})
    (late,) = waiting(land, app, 1, many_tasks.wait_and_clean, timeout=0.2)

    assert final(app.task(many_tasks.which_loop).enqueue()).value.startswith("uvloop")
    assert final(app.task(many_tasks.uses_libraries).enqueue()).value == [3, 5, 7]
    assert final(app.task(many_tasks.asks_subtasks).enqueue(str(land.file()))).value == "False"
    assert "TaskTimeout" in str(final(late).error)
    assert {"cancelled 0", "ended"} <= set(lines(land.file()))
