"""Every setting of Django-Q's first example, by its effect."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from qcore import Config, Job, ResultNotReady, State
from qcore.tasks.task import bind
from tests.integration import tasks
from tests.integration.land import final, finals, lines, until, worker_pids

if TYPE_CHECKING:
    from tests.integration.land import Land

#: Django-Q's first example, its `redis` taken out
EXAMPLE = {
    "name": "myproject",
    "workers": 8,
    "recycle": 500,
    "timeout": 60,
    "compress": True,
    "save_limit": 250,
    "queue_limit": 500,
    "cpu_affinity": 1,
    "label": "Django Q",
}


def test_first_example_of_the_specification_runs_as_it_stands(land: Land) -> None:
    """Every key of the first example loads unchanged, and the cluster it describes works."""
    app, cluster = land.both(preload=[], **EXAMPLE)

    jobs = app.enqueue_many([bind(tasks.add, (n, 1), {}, tasks.choosy.options) for n in range(50)])

    assert [result.value for result in finals(jobs)] == [n + 1 for n in range(50)]
    status = cluster.status()
    assert (status.name, status.label, len(status.workers)) == ("myproject", "Django Q", 8)


@pytest.mark.portable
def test_name_keeps_queues_apart(land: Land) -> None:
    """Two names are two queues, even in one database: neither runs the other's tasks."""
    ours = land.app(name="ours", sqlite={"path": str(land.file("ours.db"))})
    theirs = land.app(name="theirs", sqlite={"path": str(land.file("theirs.db"))})
    land.cluster(name="ours", workers=1, sqlite={"path": str(land.file("ours.db"))})

    wanted, stranger = ours.enqueue(tasks.add, 1, 1), theirs.enqueue(tasks.add, 2, 2)

    assert wanted.result(wait=100) == 2
    with pytest.raises(ResultNotReady):
        stranger.result(wait=0.2)
    assert theirs.queue.size().ready == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_is_the_number_of_processes_that_run_tasks(land: Land, workers: int) -> None:
    """So many processes run tasks, and so many tasks run at once."""
    app, cluster = land.both(workers=workers)
    gate = land.file("gate")

    jobs = [app.enqueue(tasks.hold_on, str(land.file()), str(gate)) for _ in range(workers + 1)]
    until(lambda: len(lines(land.file())) >= workers, "all workers to be busy")
    busy = set(lines(land.file()))
    gate.touch()
    results = finals(jobs)

    assert busy == {str(pid) for pid in worker_pids(cluster)}
    assert len(busy) == workers
    assert {result.value for result in results} <= {int(pid) for pid in busy}


def test_worker_is_recycled_after_exactly_that_many_tasks(land: Land) -> None:
    """With `recycle` 5 no process runs a sixth task, each runs five, and it is counted as recycled."""
    app, cluster = land.both(workers=1, recycle=5)

    jobs = [app.enqueue(tasks.pid) for _ in range(20)]
    ran = [result.value for result in finals(jobs)]

    counts = [ran.count(pid) for pid in dict.fromkeys(ran)]
    assert counts == [5, 5, 5, 5]
    status = until(lambda: s if (s := cluster.status()).reincarnations.get("recycled") == 4 else None)
    assert dict(status.reincarnations) == {"recycled": 4}
    assert status.finished == 20


@pytest.mark.portable
def test_worker_is_recycled_in_the_middle_of_a_flood_too(land: Land) -> None:
    """Batches do not let a worker run more than `recycle` tasks."""
    app, _ = land.both(workers=2, recycle=30, save_limit=0)

    call = app.task(tasks.pid).bind()
    ran = [result.value for result in finals(app.enqueue_many([call] * 300))]

    assert max(ran.count(pid) for pid in set(ran)) == 30
    assert len(ran) == 300


@pytest.mark.portable
def test_recycle_0_keeps_a_worker_for_ever(land: Land) -> None:
    """With `recycle` 0 one process runs all of 600 tasks."""
    app, _ = land.both(workers=1, recycle=0, save_limit=0)

    call = app.task(tasks.pid).bind()

    assert len({result.value for result in finals(app.enqueue_many([call] * 600))}) == 1


@pytest.mark.portable
def test_a_worker_lives_as_long_as_recycle_after_says(land: Land) -> None:
    """It runs more tasks than `recycle` says until its time has come."""
    app, _ = land.both(workers=1, recycle=5, recycle_after=3600, save_limit=0)

    call = app.task(tasks.pid).bind()

    assert len({result.value for result in finals(app.enqueue_many([call] * 600))}) == 1


@pytest.mark.portable
def test_a_worker_that_grows_is_replaced_before_its_time(land: Land) -> None:
    """The memory that its tasks leave behind is released as ever."""
    app, cluster = land.both(workers=1, recycle=5, recycle_after=3600)

    first = finals([app.enqueue(tasks.pid) for _ in range(5)])
    finals([app.enqueue(tasks.hoard, 64)])
    last = finals([app.enqueue(tasks.pid)])

    assert first[0].value != last[0].value
    until(lambda: cluster.status().reincarnations.get("recycled") == 1, "the count of what was replaced")


@pytest.mark.portable
def test_compressed_messages_are_smaller_and_read_by_everybody(land: Land) -> None:
    """`compress` shrinks large messages on the broker; either setting reads both."""
    text = "all work and no play " * 2000
    plain, packed = land.app(), land.app(compress=True)
    jobs = [plain.enqueue(tasks.echo, text), packed.enqueue(tasks.echo, text)]
    with plain.runtime.brokers.connection() as broker:
        sizes = [len(delivery.body) for delivery in broker.lease(2, 1)]
    assert sizes[1] < sizes[0] / 10
    with plain.runtime.brokers.connection() as broker:
        broker.purge()

    for compress in (False, True):
        cluster = land.cluster(compress=compress, name="land")
        jobs = [plain.enqueue(tasks.echo, text), packed.enqueue(tasks.echo, text)]
        assert [result.value for result in finals(jobs)] == [text, text]
        cluster.stop()


@pytest.mark.portable
def test_small_messages_are_not_compressed(land: Land) -> None:
    """Below 2 KiB `compress` changes nothing."""
    bodies = []
    for app in (land.app(), land.app(compress=True)):
        app.enqueue(tasks.echo, "a" * 1000)
        with app.runtime.brokers.connection() as broker:
            bodies.append(len(broker.lease(1, 1)[0].body))

    assert bodies[0] == bodies[1]


@pytest.mark.portable
@pytest.mark.parametrize(("limit", "kept"), [(250, 250), (0, 300), (-1, 0)])
def test_save_limit_bounds_successes(land: Land, limit: int, kept: int) -> None:
    """`save_limit` keeps so many successes, 0 all of them, -1 none."""
    app, cluster = land.both(save_limit=limit)

    app.enqueue_many([app.task(tasks.add).bind(n, n) for n in range(300)])
    until(lambda: cluster.status().finished == 300, "300 tasks to be run")
    cluster.stop()

    with app.runtime.stores.connection() as store:
        assert store.counts().get(State.SUCCESS, 0) == kept


@pytest.mark.portable
def test_lowered_save_limit_shrinks_what_is_kept_and_spares_failures(land: Land) -> None:
    """A lower `save_limit` forgets the oldest successes at once, failures never."""
    app, cluster = land.both(workers=1, save_limit=0, ack_failures=True)
    jobs = [app.enqueue(tasks.add, n, n) for n in range(30)]
    failed = [app.enqueue(tasks.fail) for _ in range(10)]
    finals([*jobs, *failed])
    cluster.stop()

    cluster = land.cluster(save_limit=5)

    def counted() -> dict[State, int]:
        with app.runtime.stores.connection() as store:
            return dict(store.counts())

    until(lambda: counted() == {State.SUCCESS: 5, State.FAILED: 10}, "the store to shrink")
    assert jobs[-1].result() == 58
    assert jobs[0].fetch() is None
    cluster.stop()


@pytest.mark.portable
def test_task_that_asks_for_it_is_saved_or_not(land: Land) -> None:
    """A task's own `save` beats `save_limit`; a failure is kept whatever is said."""
    app, cluster = land.both(save_limit=-1, ack_failures=True)

    kept = app.task(save=True)(tasks.add).enqueue(1, 1)
    dropped = app.enqueue(tasks.add, 2, 2)
    failed = app.task(save=False)(tasks.fail).enqueue()
    finals([kept, failed])
    until(lambda: cluster.status().finished == 3)

    assert kept.result() == 2
    assert dropped.fetch() is None


@pytest.mark.portable
@pytest.mark.parametrize("key", ["queue_limit", "bulk"])
def test_no_more_messages_are_held_than_allowed(land: Land, key: str) -> None:
    """`queue_limit` bounds what a cluster holds, `bulk` what one call asks for, in a flood too."""
    app = land.app(save_limit=-1)
    app.enqueue_many([app.task(tasks.nap).bind(0.001)] * 600)
    cluster = land.cluster(save_limit=-1, **{key: 4 if key == "queue_limit" else 2})

    most = 0
    while cluster.status().finished < 600:
        leased = app.queue.size().leased
        most = max(most, leased or 0)

    assert 0 < most <= 4


@pytest.mark.portable
def test_label_and_name_are_shown_in_the_status(land: Land) -> None:
    """People see a cluster under its label, in the handle and in what it publishes."""
    app, cluster = land.both(label="the night shift")

    def published() -> list[bytes]:
        with app.runtime.brokers.connection() as broker:
            return list(broker.statuses())

    (body,) = until(published)
    status = cluster.status()

    assert (status.label, status.name, status.state) == ("the night shift", "land", "idle")
    assert b"the night shift" in body
    cluster.stop()
    assert published() == []


def test_worker_that_grows_beyond_max_rss_is_replaced(land: Land) -> None:
    """A worker with more than `max_rss` KiB leaves after its task, which succeeds."""
    app, cluster = land.both(workers=1, max_rss=150 * 1024)

    small = [app.enqueue(tasks.pid).result(wait=100) for _ in range(2)]
    large = app.enqueue(tasks.hoard, 200).result(wait=100)
    after = app.enqueue(tasks.pid).result(wait=100)

    assert small == [large, large]
    assert after != large
    assert dict(cluster.status().reincarnations) == {"memory": 1}


@pytest.mark.portable
def test_sync_runs_in_this_process_without_a_broker(land: Land) -> None:
    """With `sync` a task is done when it is enqueued, in the process that does so."""
    app = land.app(sync=True)

    before = psutil.Process().children(recursive=True)
    job = app.enqueue(tasks.pid)
    task_id = app.async_task("math.copysign", 2, -2)
    failed = app.enqueue(tasks.fail)

    assert job.result() == psutil.Process().pid
    assert app.results.get(task_id) == -2.0
    assert final(failed).error == "RuntimeError: no"
    assert app.queue.size().ready == 0
    assert psutil.Process().children(recursive=True) == before


@pytest.mark.portable
def test_sync_of_one_call_leaves_the_others_to_the_workers(land: Land) -> None:
    """`sync=True` on one call runs that one here."""
    app, _ = land.both()

    here = app.async_task(tasks.pid, sync=True)
    there = app.async_task(tasks.pid)

    assert app.results.get(here) == psutil.Process().pid
    assert app.results.get(there, wait=100) != psutil.Process().pid


def test_preloaded_module_is_imported_once_for_all_workers(land: Land) -> None:
    """What is in `preload` is imported before workers are forked."""
    app, cluster = land.both(preload=["tests.integration.tasks"])
    imported_by, ran, parent = app.enqueue(tasks.parent).result(wait=100)
    assert imported_by == parent != ran

    cluster.stop()
    land.cluster(preload=[])
    imported_by, ran, parent = app.enqueue(tasks.parent).result(wait=100)
    assert imported_by == ran != parent


@pytest.mark.portable
def test_cached_results_are_forgotten_after_their_time(land: Land) -> None:
    """With `cached` so many seconds a result can be had so long and no longer."""
    for kept in (0.5, 5.0, 40.0):
        app, cluster = land.both(cached=kept)
        job = app.enqueue(tasks.add, 1, 1)
        failed: Job[Any] = Job(app, app.async_task(tasks.fail, ack_failure=True, cached=True))
        if found := job.fetch(wait=10):
            break
        # on a machine as busy as this it was forgotten before it was read
        cluster.stop()

    assert found is not None
    assert found.value == 2
    until(lambda: job.fetch() is None, "the result to be forgotten", within=100)
    assert final(failed).error == "RuntimeError: no"


@pytest.mark.portable
def test_status_of_a_busy_cluster_is_renewed_every_guard_cycle(land: Land) -> None:
    """What a busy cluster publishes is no older than `guard_cycle`."""
    app, cluster = land.both(guard_cycle=0.1)
    gate = land.file("gate")
    app.enqueue(tasks.hold_on, str(land.file()), str(gate))
    until(lambda: cluster.status().state == "working")

    seen: set[bytes] = set()

    def renewed() -> bool:
        with app.runtime.brokers.connection() as broker:
            seen.update(broker.statuses())
        return len(seen) > 5

    began = time.monotonic()
    until(renewed)
    gate.touch()

    # it would be five times five seconds by default
    assert time.monotonic() - began < 20


def test_default_number_of_workers_respects_the_affinity_of_the_process() -> None:
    """Without `workers` there is one for each processor this process may use."""
    assert Config.from_dict({}).workers == len(psutil.Process().cpu_affinity())
