"""Stop in two signals: what runs is let finish, what does not goes back uncharged."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from qcore import Cluster, State
from tests.integration import tasks
from tests.integration.land import alive, final, finals, lines, until, worker_pids

if TYPE_CHECKING:
    from qcore import App
    from tests.integration.land import Land


def busy(land: Land, count: int = 1) -> None:
    """Wait until so many tasks have started."""
    until(lambda: len(lines(land.file())) >= count, "tasks to start")


def shrunk(app: App, size: int) -> bool:
    """Tell whether fewer messages are ready."""
    return app.queue.size().ready < size


def finished(cluster: Cluster, count: int) -> bool:
    """Tell whether more tasks have been run."""
    return cluster.status().finished > count


@pytest.mark.parametrize("by", ["stop", "SIGTERM", "SIGINT"])
def test_stop_lets_running_tasks_finish_and_gives_back_the_rest(land: Land, by: str) -> None:
    """A running task ends and is saved; what waited behind it is ready again, uncharged."""
    app, cluster = land.both(workers=1, shutdown_timeout=20)
    running = app.enqueue(tasks.nap, 1.0, str(land.file()))
    busy(land)
    waiting = app.enqueue_many([app.task(tasks.pid).bind(str(land.file("later")))] * 5)

    if by == "stop":
        cluster.stop()
    else:
        os.kill(cluster.pid or 0, signal.Signals[by])
        assert cluster.wait(timeout=100)

    assert final(running).success
    assert (app.queue.size().ready, app.queue.size().leased) == (5, 0)
    assert lines(land.file("later")) == []
    land.cluster()
    assert all(result.attempts == 1 and result.crashes == 0 for result in finals(waiting))


@pytest.mark.portable
def test_task_that_outlasts_the_shutdown_timeout_is_released_uncharged(land: Land) -> None:
    """Beyond `shutdown_timeout` a task is interrupted: no failure, no crash, ready at once."""
    app, cluster = land.both(workers=2, shutdown_timeout=0.3, max_crashes=1, max_attempts=1)
    gate = land.file("gate")
    jobs = [app.enqueue(tasks.hold_on, str(land.file()), str(gate)) for _ in range(2)]
    busy(land, 2)

    began = time.monotonic()
    cluster.stop()

    # it would be 25 by default
    assert time.monotonic() - began < 20
    assert (app.queue.size().ready, app.queue.size().leased, app.queue.size().dead_letters) == (2, 0, 0)
    assert jobs[0].fetch() is None
    gate.touch()
    land.cluster()
    results = finals(jobs)
    assert [(result.state, result.attempts, result.crashes) for result in results] == [
        (State.SUCCESS, 1, 0)
    ] * 2


def test_second_signal_ends_running_tasks_at_once(land: Land) -> None:
    """Who asks twice is not made to wait; the task goes back uncharged."""
    app, cluster = land.both(workers=1, shutdown_timeout=600)
    job = app.enqueue(tasks.hold_on, str(land.file()), str(land.file("gate")))
    busy(land)
    supervisor = cluster.pid or 0

    os.kill(supervisor, signal.SIGTERM)
    until(lambda: cluster.status().state == "stopping")
    assert not cluster.wait(timeout=0.3)
    os.kill(supervisor, signal.SIGTERM)

    assert cluster.wait(timeout=100)
    assert app.queue.size().ready == 1
    assert job.fetch() is None


def test_signal_and_stop_together_are_no_second_signal(land: Land) -> None:
    """An init system that signals the supervisor and its program, which stops it too, is not in a hurry."""
    app, cluster = land.both(workers=1, shutdown_timeout=20)
    job = app.enqueue(tasks.nap, 0.8, str(land.file()))
    busy(land)

    os.kill(cluster.pid or 0, signal.SIGTERM)
    cluster.stop()

    assert final(job).success


def test_third_signal_waits_for_nothing(land: Land) -> None:
    """Whoever asks three times gets out, whatever state things are in."""
    app, cluster = land.both(workers=1, shutdown_timeout=600)
    app.enqueue(tasks.hold_on, str(land.file()), str(land.file("gate")))
    busy(land)
    supervisor = cluster.pid or 0

    os.kill(supervisor, signal.SIGTERM)
    until(lambda: cluster.status().state == "stopping")
    for _ in range(2):
        try:
            os.kill(supervisor, signal.SIGTERM)
        except ProcessLookupError:
            break

    assert cluster.wait(timeout=100)


@pytest.mark.portable
@pytest.mark.early
def test_stop_of_a_cluster_with_a_full_queue_leaves_nothing_leased(land: Land) -> None:
    """However busy it is when it is stopped, everything it held is ready or done."""
    app = land.app(save_limit=0)
    jobs = app.enqueue_many([app.task(tasks.nap).bind(0.0005)] * 2000)

    for _ in range(3):
        cluster = land.cluster(save_limit=0)
        before = app.queue.size().ready
        until(partial(shrunk, app, before - 100))
        cluster.stop()
        assert app.queue.size().leased == 0

    land.cluster(save_limit=0)
    assert all(result.attempts == 1 for result in finals(jobs))


@pytest.mark.portable
@pytest.mark.early
def test_worker_that_is_just_being_born_stops_too(land: Land) -> None:
    """A worker on its way when its cluster stops finishes one task at most."""
    app = land.app(save_limit=-1)
    stopped = land.file("stopped")

    for number in range(5):
        cluster = land.cluster(workers=4, recycle=5, save_limit=-1)
        # not before all workers are there, because that takes long while they are replaced all the time
        app.enqueue_many([app.task(tasks.slow_once).bind(str(stopped), 0.7)] * 300)
        until(partial(finished, cluster, 10 + 3 * number))
        stopped.touch()
        cluster.stop(timeout=100)
        # the last task of a worker, and the first of the one in its place
        assert len(lines(stopped)) <= 2 * 4
        stopped.unlink()

    assert app.queue.size().leased == 0


def test_idle_cluster_stops_at_once_and_twice_is_harmless(
    land: Land, capfd: pytest.CaptureFixture[str]
) -> None:
    """Stopping what does nothing takes no time and no warning, and stopping what is stopped is nothing."""
    cluster = land.cluster(workers=3, shutdown_timeout=60)
    pids = [cluster.pid or 0, *worker_pids(cluster)]
    until(lambda: [one.state for one in cluster.status().workers] == ["idle"] * 3, "idle workers")

    began = time.monotonic()
    assert cluster.stop()
    assert time.monotonic() - began < 45
    assert not cluster.stop()
    assert not any(alive(pid) for pid in pids)
    assert cluster.status().state == "stopped"
    assert capfd.readouterr().err == ""


@pytest.mark.portable
def test_cluster_can_be_started_again_and_as_a_context(land: Land) -> None:
    """One handle serves for several lives."""
    app = land.app()
    cluster = Cluster(app.config)

    for number in range(2):
        with cluster:
            assert app.enqueue(tasks.add, number, 1).result(wait=100) == number + 1
        assert cluster.pid is None


@pytest.mark.portable
def test_a_context_may_be_started_on_the_way(land: Land) -> None:
    """`with Cluster(config).start() as cluster` starts once and stops at the end."""
    app = land.app()

    with Cluster(app.config).start() as cluster:
        assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2

    assert cluster.pid is None


def test_idle_worker_told_to_stop_by_hand_is_replaced(land: Land) -> None:
    """SIGTERM to a worker makes it leave, and another takes its place."""
    app, cluster = land.both(workers=1)
    (pid,) = worker_pids(cluster)

    os.kill(pid, signal.SIGTERM)

    until(lambda: not alive(pid))
    assert app.enqueue(tasks.pid).result(wait=100) != pid
