"""Cancelling tasks, asking for their status, pausing: on real clusters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore import Progress, QueueSize, Retry
from qcore.model import State
from qcore_queues.flags import cancel_key
from tests.integration import controlled_tasks, limited_tasks, tasks
from tests.integration.land import final, finals, kill, lines, until, worker_pids

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore import App, ClusterStatus, Job, Result
    from tests.integration.land import Land

EMPTY = QueueSize(ready=0, leased=0, delayed=0, dead_letters=0)
#: seconds after which a change of mind must have reached every worker, with room for a slow machine
SEEN = 3.0


def ended(job: Job[Any]) -> Result:
    """Return the result of a task that was cancelled."""
    result = final(job)
    assert (State.FAILED, "cancelled") == (result.state, result.kind), result
    assert result.error.startswith("TaskCancelled: the task was cancelled")
    return result


# -- waiting ----------------------------------------------------------------------------------


@pytest.mark.portable
@pytest.mark.parametrize("delay", [0.0, 3600.0])
def test_a_waiting_task_is_taken_out_of_the_queue(land: Land, delay: float) -> None:
    """Whether it is ready or delayed, it has failed before `cancel` returns."""
    app = land.app()
    job = app.task(tasks.pid).using(delay=delay).enqueue(str(land.file()))
    other = app.enqueue(tasks.add, 1, 2)

    assert job.cancel()

    assert (1, 0) == (app.queue.size().ready, app.queue.size().delayed)
    assert (ended(job).attempts, job.status().state) == (0, "cancelled")
    assert not job.cancel()
    land.cluster()
    assert final(other).value == 3
    assert not lines(land.file())


@pytest.mark.portable
def test_a_task_that_waits_for_another_attempt_is_cancelled(land: Land) -> None:
    """The attempts it has had stand in its result."""
    app, _ = land.both(retry=60, timeout=30)
    job = app.enqueue(tasks.fail, "no", str(land.file()))
    until(lambda: app.queue.size().delayed == 1, "its first failure")
    assert job.status().state == "retrying"

    assert job.cancel()

    assert (ended(job).attempts, app.queue.size()) == (1, EMPTY)


@pytest.mark.portable
def test_a_task_that_has_ended_is_not_cancelled(land: Land) -> None:
    """Its result stays."""
    app, _ = land.both(ack_failures=True)
    jobs = [app.enqueue(tasks.add, 1, 2), app.enqueue(tasks.fail)]
    finals(jobs)

    assert [job.cancel() for job in jobs] == [False, False]

    assert ["success", "failure"] == [final(job).kind for job in jobs]


@pytest.mark.portable
def test_an_unknown_id_is_not_cancelled(land: Land) -> None:
    """SQLite knows that no message bears it; text that is not an id is refused."""
    app = land.app()

    assert not app.cancel("ab" * 16)
    with pytest.raises(ValueError, match="not a task id: 'xyz'"):
        app.cancel("xyz")


# -- running ----------------------------------------------------------------------------------

HANGING: list[tuple[str, Callable[[App, str], Job[Any]]]] = [
    ("python", lambda app, path: app.enqueue(controlled_tasks.spin, path)),
    ("sleep", lambda app, path: app.enqueue(tasks.nap, 60.0, path)),
    ("the GIL held in C", lambda app, path: app.enqueue(tasks.burn, path)),
    ("async", lambda app, path: app.enqueue(tasks.sleep_async, 60.0, path)),
    ("async that blocks", lambda app, _: app.enqueue(tasks.block_loop)),
    ("swallows it", lambda app, path: app.enqueue(tasks.stubborn, path)),
    ("blocks signals", lambda app, path: app.enqueue(tasks.deaf, path)),
    ("makes another error of it", lambda app, path: app.enqueue(controlled_tasks.object_, path)),
    ("retries everything", lambda app, path: app.enqueue("tests.integration.controlled_tasks.again", path)),
    ("no limit", lambda app, path: app.task(tasks.nap).using(timeout=None).enqueue(60.0, path)),
]


@pytest.mark.parametrize("enqueue", [one for _, one in HANGING], ids=[name for name, _ in HANGING])
def test_a_running_task_is_ended(land: Land, enqueue: Callable[[App, str], Job[Any]]) -> None:
    """Whatever it does, it ends within seconds, for good, and its worker or the next goes on."""
    app, cluster = land.both(workers=1)
    job = enqueue(app, str(land.file()))
    until(lambda: cluster.status().workers[0].running_for > 0)

    assert job.cancel()

    result = ended(job)
    assert (result.attempts, result.crashes) == (1, 0) or result.attempts == 0
    until(lambda: app.queue.size() == EMPTY, "its message to be acknowledged")
    assert len([line for line in lines(land.file()) if line[0].isdigit()]) <= 1
    assert app.enqueue(tasks.add, 1, 2).result(45) == 3


def test_a_task_can_clean_up(land: Land) -> None:
    """The exception is raised in the task, and its worker lives on."""
    app, cluster = land.both(workers=1)
    before = worker_pids(cluster)
    job = app.enqueue(controlled_tasks.clean_up, str(land.file()))
    until(lambda: lines(land.file()))

    assert job.cancel()

    assert "time.sleep(60)" in ended(job).traceback
    assert lines(land.file())[1:] == ["cleaned up"]
    assert worker_pids(cluster) == before


def test_a_coroutine_is_cancelled(land: Land) -> None:
    """It is reported by the event loop's own error."""
    app, _ = land.both(workers=1)
    job = app.enqueue(tasks.sleep_async, 60.0, str(land.file()))
    until(lambda: job.status().state == "running")

    assert job.cancel()

    ended(job)
    assert lines(land.file()) == ["cancelled"]


def test_a_task_that_returns_all_the_same_has_succeeded(land: Land) -> None:
    """What it did is not denied."""
    app, _ = land.both(workers=1)
    job = app.enqueue(controlled_tasks.insist, str(land.file()))
    until(lambda: lines(land.file()))

    assert job.cancel()

    assert final(job).value == "done all the same"


def test_neighbours_of_a_cancelled_task_are_untouched(land: Land) -> None:
    """Those before it in its batch are done, those behind it are done by others, each once."""
    app = land.app(retry=2, max_attempts=2)
    calls = [app.task(tasks.pid).bind(str(land.file("pids"))) for _ in range(120)]
    calls[60:60] = [app.task(tasks.fail).bind("no", str(land.file("failed")))]
    calls[61:61] = [app.task(tasks.stubborn).bind(str(land.file()))]
    jobs = app.enqueue_many(calls)
    cluster = land.cluster(workers=2, retry=2, max_attempts=2)
    until(lambda: lines(land.file()), "the stubborn one to start")

    assert jobs[61].cancel()

    ended(jobs[61])
    others = [job for number, job in enumerate(jobs) if number not in {60, 61}]
    results = finals(others)
    assert all(one.success and one.attempts == 1 and one.crashes == 0 for one in results)
    assert (len(lines(land.file("pids"))), final(jobs[60]).attempts) == (120, 2)
    until(lambda: cluster.status().reincarnations.get("cancelled") == 1)
    assert app.queue.size() == QueueSize(ready=0, leased=0, delayed=0, dead_letters=1)


def test_a_worker_killed_while_it_ends_a_task_does_not_bring_it_back(land: Land) -> None:
    """However the worker dies: the task was to end, and has."""
    app, cluster = land.both(workers=1)
    job = app.enqueue(tasks.stubborn, str(land.file()))
    until(lambda: lines(land.file()))

    assert job.cancel()
    until(lambda: len(lines(land.file())) > 1, "the exception")
    kill(worker_pids(cluster)[0])

    ended(job)
    until(lambda: app.queue.size() == EMPTY)
    assert len([line for line in lines(land.file()) if line != "swallowed"]) == 1


@pytest.mark.portable
def test_a_task_cancelled_before_its_cluster_died_is_ended_by_the_next(land: Land) -> None:
    """The control flag survives clusters."""
    app, cluster = land.both(workers=1, retry=2, timeout=None)
    job = app.enqueue(tasks.nap, 60.0, str(land.file()))
    until(lambda: lines(land.file()))
    assert cluster.pid
    kill(cluster.pid)
    cluster.wait(100)

    # Its worker is dead, and it cannot be removed from the queue.
    assert job.cancel()
    land.cluster(workers=1, retry=2, timeout=None)

    ended(job)


@pytest.mark.portable
def test_a_run_too_short_to_be_ended_is_the_last(land: Land) -> None:
    """Cancelled while a worker held it, it failed at once; it is not tried again."""
    app = land.app(retry=0.5, timeout=0.4)
    gate = land.file("gate")
    job = app.enqueue(controlled_tasks.fail_at, str(land.file()), str(gate))
    with app.runtime.brokers.connection() as broker:
        # As a worker would that has not begun it.
        assert broker.lease(1, 5)
        assert job.cancel()
    gate.touch()

    land.cluster(retry=0.5, timeout=0.4)

    assert ended(job).attempts == 0
    until(lambda: app.queue.size() == EMPTY)
    assert not lines(land.file())


@pytest.mark.portable
def test_a_mark_that_is_not_ours_ends_nothing(land: Land) -> None:
    """Who can write to the store, but has no key, calls nothing off and pauses nothing."""
    app, cluster = land.both(workers=1)
    gate = land.file("gate")
    job = app.enqueue(tasks.hold_on, str(land.file()), str(gate))
    until(lambda: lines(land.file()))
    other = land.app(secret_key="a stranger's key of some length, quite long")

    with app.runtime.coordination_stores.connection() as store:
        store.set_flag(cancel_key(bytes.fromhex(job.id)), b"x" * 60, 60.0)
    other.queue.pause()
    until(lambda: cluster.status().workers[0].running_for > SEEN)
    gate.touch()

    assert final(job).success
    assert not app.queue.is_paused()
    assert app.enqueue(tasks.add, 1, 2).result(45) == 3


# -- how far it is ----------------------------------------------------------------------------


@pytest.mark.portable
def test_each_state_is_told(land: Land) -> None:
    """From nothing known to the end."""
    app = land.app(retry=60, timeout=30)
    gate = land.file("gate")
    assert app.status("ab" * 16).state == "unknown"

    before = time.time()
    job = app.enqueue(tasks.hold_on, str(land.file()), str(gate))
    queued = job.status()
    assert (queued.state, queued.worker) == ("queued", "")
    assert before - 1 < queued.since < time.time() + 1

    cluster = land.cluster(workers=1, retry=60, timeout=30)
    running = until(lambda: (found := job.status()).state == "running" and found)
    assert running.worker.endswith(f":{worker_pids(cluster)[0]}")
    assert (running.cluster, running.progress) == (cluster.status().id, None)
    assert before - 1 < running.since < time.time()
    gate.touch()
    until(lambda: job.status().state == "succeeded")
    assert job.status().worker.endswith(f":{worker_pids(cluster)[0]}")

    failing = app.enqueue(tasks.fail)
    until(lambda: failing.status().state == "retrying")
    last = app.task(tasks.fail).using(ack_failure=True).enqueue()
    until(lambda: last.status().state == "failed")


@pytest.mark.portable
def test_progress_is_seen_from_another_process(land: Land) -> None:
    """By the handle, in the cluster's status, and by whoever reads what is published."""
    app, cluster = land.both(workers=2)
    gate = land.file("gate")
    job = app.enqueue(controlled_tasks.step, str(gate), 4)

    found = until(lambda: job.status().progress)

    assert found == Progress(done=2.0, total=4.0, note="x" * 120)
    worker = next(one for one in cluster.status().workers if one.state == "busy")
    assert ("tests.integration.controlled_tasks.step", job.id, found) == (
        worker.task,
        worker.task_id,
        worker.progress,
    )
    gate.touch()
    until(lambda: job.status().state == "succeeded")
    until(lambda: all(one.progress is None and not one.task for one in cluster.status().workers))


@pytest.mark.portable
@pytest.mark.parametrize(
    ("then", "options", "state"),
    [
        ("fail", {"ack_failure": True}, "failed"),
        ("fail", {"retry": Retry(max_attempts=2, backoff=60)}, "retrying"),
        ("die", {"max_crashes": 1}, "failed"),
        ("die", {"at_most_once": True}, "interrupted"),
        ("hang", {}, "cancelled"),
    ],
)
def test_a_task_that_ended_shows_how_far_it_came(
    land: Land, then: str, options: dict[str, Any], state: str
) -> None:
    """However it ended, in its own process or with it: a bar stays where it stood."""
    app, _ = land.both(workers=1)

    job = app.task(controlled_tasks.three_of_four).using(**options).enqueue(then, str(land.file()))
    if then == "hang":
        until(lambda: lines(land.file()))
        assert job.cancel()

    until(lambda: job.status().state == state)
    result = job.fetch()
    assert result is not None
    assert result.progress == job.status().progress == Progress(done=3.0, total=4.0, note="page 3")


@pytest.mark.portable
def test_a_task_that_succeeded_shows_all_of_it(land: Land) -> None:
    """A bar comes to its end; the result has what was reported last, and the next task has none."""
    app, _ = land.both(workers=1)

    job = app.enqueue(controlled_tasks.three_of_four, "return", str(land.file()))
    after = app.enqueue(tasks.add, 1, 2)

    assert Progress(done=3.0, total=4.0, note="page 3") == final(job).progress
    assert Progress(done=4.0, total=4.0, note="page 3") == job.status().progress
    assert final(after).progress is None
    assert Progress(done=1.0, total=1.0) == after.status().progress


@pytest.mark.portable
def test_a_task_that_runs_for_long_is_published_each_second(land: Land) -> None:
    """However seldom the cluster publishes otherwise."""
    app, _ = land.both(workers=1, guard_cycle=50)
    gate = land.file("gate")
    job = app.enqueue(controlled_tasks.step, str(gate), 4)

    first = until(lambda: (found := job.status()).progress and found)
    with app.runtime.brokers.connection() as broker:
        bodies = broker.statuses()
        until(lambda: broker.statuses() != bodies, "another publication")

    assert abs(job.status().since - first.since) < 1
    gate.touch()
    final(job)


def test_a_cluster_tells_how_fast_it_is(land: Land) -> None:
    """Rate, times, memory: of about the last minute, of each process."""
    app, cluster = land.both(workers=2, max_rss=10_000_000, save_limit=0)
    finals(app.enqueue_many([app.task(tasks.nap).bind(0.1)] * 20))
    finals(app.enqueue_many([app.task(tasks.echo).bind(n) for n in range(300)]))
    finals([app.task(tasks.echo).using(delay=1.0).enqueue(1)])

    def measured() -> ClusterStatus | None:
        seen = cluster.status()
        return seen if seen.rss and all(one.rss for one in seen.workers) else None

    seen = until(measured, "memory to be measured")
    assert seen.finished == 321
    assert 1 < seen.rate <= 321
    assert seen.run_time
    assert seen.run_time.p50 < 0.08
    assert 0.08 < seen.run_time.p99 < 30
    assert seen.wait_time
    assert 0 < seen.wait_time.p50 <= seen.wait_time.p99 < 30
    workers = [(one.pss, one.rss, one.peak) for one in seen.workers]
    assert all(0 < pss <= rss <= peak for pss, rss, peak in workers)
    assert seen.max_rss == 10_000_000 * 1024
    assert 0 < seen.memory_available < seen.memory_total


@pytest.mark.portable
def test_a_cluster_counts_how_its_tasks_end(land: Land) -> None:
    """By name, queue and end, in its workers and, for those that die, in its supervisor."""
    app, cluster = land.both(workers=2, max_attempts=2, max_crashes=1, retry=2, timeout=1, recycle=3)
    finals(app.enqueue_many([app.task(tasks.echo).bind(n) for n in range(50)]))
    final(app.enqueue(tasks.nap, 0.2))
    final(app.task(tasks.fail).using(queue="mail").enqueue())
    final(app.task(tasks.die).using(queue="mail").enqueue("kill"))
    final(app.task(tasks.echo).using(queue="mail").enqueue(50))

    def counted() -> ClusterStatus | None:
        seen = cluster.status()
        runs = {name.rpartition(".")[2]: one.runs for name, one in seen.counts.tasks.items()}
        # what has left the queue is counted a moment after it has ended
        left = sum(one.left for one in seen.counts.tasks.values())
        expected = {
            "echo": {"success": 51},
            "nap": {"success": 1},
            "fail": {"failure": 2},
            "die": {"crash": 1},
        }
        return seen if runs == expected and left == 54 else None

    counts = until(counted, "all to be counted").counts
    tasks_ = {name.rpartition(".")[2]: one for name, one in counts.tasks.items()}
    assert (tasks_["fail"].retries, tasks_["fail"].dead_letters) == (1, 1)
    assert (tasks_["die"].retries, tasks_["die"].dead_letters) == (0, 1)
    assert {name: one.left for name, one in tasks_.items()} == {"echo": 51, "nap": 1, "fail": 1, "die": 1}
    assert 0.2 <= tasks_["nap"].seconds < 30
    queues = {name: {queue: part.runs for queue, part in one.queues.items()} for name, one in tasks_.items()}
    assert queues == {
        "echo": {"default": {"success": 50}, "mail": {"success": 1}},
        "nap": {},
        "fail": {"mail": {"failure": 2}},
        "die": {"mail": {"crash": 1}},
    }
    assert counts.started == 55
    assert sum(counts.run_times.counts) == 54
    assert counts.run_times.total > 0.15
    assert sum(counts.wait_times.counts) >= 50
    with app.runtime.brokers.connection() as broker:
        until(lambda: "counts" in broker.statuses()[0].decode("latin-1"), "what is published")


# -- the queue --------------------------------------------------------------------------------


def starts(land: Land) -> list[float]:
    """Return when tasks began."""
    return [float(line.split()[0]) for line in lines(land.file())]


@pytest.mark.portable
def test_nothing_begins_while_the_queue_is_paused(land: Land) -> None:
    """Four workers under load take nothing, lose nothing, and go on when they may."""
    app, cluster = land.both(workers=4, save_limit=0)
    jobs = app.enqueue_many([app.task(controlled_tasks.tick).bind(str(land.file()))] * 2000)
    until(lambda: len(starts(land)) > 100, "some to be done")

    app.queue.pause()
    until(
        lambda: cluster.status().paused and app.queue.size().leased == 0, "workers to finish what they hold"
    )
    done = len(starts(land))
    paused_at = time.time()
    jobs += [app.enqueue(controlled_tasks.tick, str(land.file()))]
    until(lambda: time.time() > paused_at + SEEN)

    assert done == len(starts(land)) < 2000
    assert app.queue.is_paused()
    assert (cluster.status().state, cluster.status().troubles) == ("idle", ())
    assert app.queue.size() == QueueSize(ready=2001 - done, leased=0, delayed=0, dead_letters=0)
    resumed_at = time.time()
    app.queue.resume()
    assert all(result.attempts == 1 for result in finals(jobs, 60))
    began = starts(land)
    assert not [at for at in began if paused_at < at < resumed_at]
    assert len(began) == 2001
    assert min(at for at in began if at > resumed_at) < resumed_at + SEEN


@pytest.mark.portable
def test_a_message_that_comes_to_a_waiting_worker_after_the_pause_goes_back(land: Land) -> None:
    """It was waiting at the empty queue when that was paused; no lease is counted."""
    app, cluster = land.both(workers=2)
    app.queue.pause()
    until(lambda: cluster.status().paused)

    job = app.enqueue(controlled_tasks.tick, str(land.file()))
    at = time.time()
    until(lambda: time.time() > at + SEEN)

    assert (
        app.queue.size() == QueueSize(ready=1, leased=0, delayed=0, dead_letters=0)
        or app.queue.size().delayed == 1
    )
    assert not starts(land)
    app.queue.resume()
    assert final(job).attempts == 1


@pytest.mark.portable
def test_a_pause_outlives_the_cluster(land: Land) -> None:
    """A cluster that starts takes nothing before it has looked."""
    app = land.app()
    app.queue.pause()
    jobs = app.enqueue_many([app.task(controlled_tasks.tick).bind(str(land.file()))] * 20)

    cluster = land.cluster(workers=2)
    until(lambda: cluster.status().paused)
    at = time.time()
    until(lambda: time.time() > at + 1)

    assert not starts(land)
    app.queue.resume()
    finals(jobs)


@pytest.mark.portable
def test_a_paused_cluster_stops_at_once(land: Land) -> None:
    """Workers that wait for the queue to be resumed obey a stop."""
    app, cluster = land.both(workers=2, shutdown_timeout=60)
    app.queue.pause()
    until(lambda: cluster.status().paused)

    at = time.monotonic()
    assert cluster.stop()

    assert time.monotonic() - at < 45


# -- what belongs together --------------------------------------------------------------------


@pytest.mark.portable
def test_a_chain_is_cancelled_by_its_handle(land: Land) -> None:
    """The link that runs is ended, those behind it never begin, and the handle says so."""
    app, _ = land.both()
    gate = land.file("gate")
    chain = app.chain(
        [
            (tasks.add, (1, 1)),
            (limited_tasks.begin, (str(land.file()), str(gate))),
            (tasks.note, (str(land.file()),)),
        ]
    )
    until(lambda: lines(land.file()) == ["begun"])
    until(lambda: chain.status().state == "running")

    assert chain.cancel()

    result = final(chain)
    assert (result.state, result.success) == (State.FAILED, False)
    assert "TaskCancelled" in result.error
    assert lines(land.file()) == ["begun"]
    assert not chain.cancel()
    assert chain.status().state in {"failed", "cancelled"}


@pytest.mark.portable
def test_a_group_is_cancelled_with_what_waits_for_it(land: Land) -> None:
    """Those that wait and those that run; the callback is not called."""
    app, _ = land.both(workers=2)
    gate = land.file("gate")
    begin = app.task(limited_tasks.begin)
    handle = app.group([begin.bind(str(land.file()), str(gate)) for _ in range(6)]).then((len,))
    until(lambda: len(lines(land.file())) == 2)

    assert handle.cancel()

    result = final(handle)
    assert not result.success
    assert all(one is not None and not one.success for one in handle.members.fetch(wait=100))
    assert not handle.cancel()
