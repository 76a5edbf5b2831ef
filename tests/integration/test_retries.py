"""Three budgets: failures, crashes, and what is never counted."""

from __future__ import annotations

import itertools
import re
import time
from typing import TYPE_CHECKING

import pytest

from qcore import QueueSize, Retry, State, TaskFailed
from tests.integration import tasks
from tests.integration.land import final, finals, lines, until

if TYPE_CHECKING:
    from pathlib import Path

    from qcore import Job
    from tests.integration.land import Land

pytestmark = pytest.mark.portable


def gaps(path: Path) -> list[float]:
    """Return the seconds between the runs noted in a file."""
    times = [float(line) for line in lines(path)]
    return [after - before for before, after in itertools.pairwise(times)]


class Waits:
    """The waits that the log of clusters announces."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        self._read = ""

    def of(self, job: Job[object], count: int) -> list[float]:
        """Return the seconds after which a job will run again, once they are `count` times in the log."""

        def found() -> list[float]:
            self._read += self._capfd.readouterr().err
            said = re.findall(rf"task {job.id} .*; will run again in (\S+) s$", self._read, re.MULTILINE)
            return [float(seconds) for seconds in said]

        until(lambda: len(found()) >= count, f"{count} waits in the log")
        return found()


@pytest.fixture
def waits(capfd: pytest.CaptureFixture[str]) -> Waits:
    """Return what reads the log of the clusters of a test."""
    return Waits(capfd)


def test_failed_task_is_presented_again_after_retry_seconds_for_ever(land: Land, waits: Waits) -> None:
    """By default a failure is not acknowledged: it comes back every `retry` seconds."""
    app, _ = land.both(retry=1)

    job = app.enqueue(tasks.fail, "no", str(land.file()))
    until(lambda: len(lines(land.file())) == 4)

    assert all(gap >= 1 for gap in gaps(land.file()))
    assert set(waits.of(job, 3)) == {1.0}
    result = until(job.fetch)
    assert (result.state, result.error) == (State.RETRYING, "RuntimeError: no")


def test_ack_failures_runs_a_failing_task_once(land: Land) -> None:
    """With `ack_failures` a failure is a delivery: one run, one failed result, an empty queue."""
    app, _ = land.both(retry=1, ack_failures=True)

    result = final(app.enqueue(tasks.fail, "no", str(land.file())))

    assert (result.state, result.attempts) == (State.FAILED, 1)
    until(lambda: app.queue.size() == QueueSize(ready=0, leased=0, delayed=0, dead_letters=0))
    assert len(lines(land.file())) == 1


@pytest.mark.parametrize("configured", [True, False])
def test_own_ack_failure_of_a_task_beats_the_configured_one(land: Land, configured: bool) -> None:
    """`ack_failure` of one task holds against `ack_failures` of the cluster, both ways."""
    app, _ = land.both(retry=1, ack_failures=configured)

    app.async_task(tasks.fail, "no", str(land.file("acked")), ack_failure=True)
    app.async_task(tasks.fail, "no", str(land.file("kept")), ack_failure=False)
    until(lambda: len(lines(land.file("kept"))) >= 3)

    assert len(lines(land.file("acked"))) == 1


@pytest.mark.parametrize("attempts", [1, 3])
def test_max_attempts_is_the_number_of_runs(land: Land, attempts: int) -> None:
    """`max_attempts` 1 means one run; what has used them up is dead-lettered with its reason."""
    app, _ = land.both(retry=1, max_attempts=attempts)

    result = final(app.enqueue(tasks.fail, "no", str(land.file())))

    assert (result.state, result.attempts) == (State.FAILED, attempts)
    assert len(lines(land.file())) == attempts
    with app.runtime.brokers.connection() as broker:
        (letter,) = until(broker.dead_letters)
    assert letter.reason == f"failure in attempt {attempts}: RuntimeError: no"
    assert letter.failures == attempts


def test_task_succeeds_in_a_later_attempt(land: Land) -> None:
    """What fails twice and then succeeds is a success with three attempts."""
    app, _ = land.both(retry=0.7, max_attempts=5)

    result = final(app.enqueue(tasks.fail_first, 2, str(land.file())))

    assert (result.value, result.attempts, result.error) == ("run 3", 3, "")


def test_own_policy_of_a_task_says_when_and_whether_it_runs_again(land: Land, waits: Waits) -> None:
    """`Retry` doubles its wait from one run to the next and stops at once where it is not asked."""
    app, _ = land.both(retry=60)

    worth = app.enqueue(tasks.choosy, "os", str(land.file("os")))
    worthless = app.enqueue(tasks.choosy, "value", str(land.file("value")))

    assert (final(worth).attempts, final(worthless).attempts) == (3, 1)
    first, second = gaps(land.file("os"))
    assert first >= 0.2
    assert second >= 0.4
    assert (waits.of(worth, 2), waits.of(worthless, 0)) == ([0.2, 0.4], [])
    with app.runtime.brokers.connection() as broker:
        reasons = [letter.reason for letter in broker.dead_letters()]
    assert "failure in attempt 1, not to be retried: ValueError: value" in reasons


def test_jitter_shortens_a_wait_by_half_at_most(land: Land, waits: Waits) -> None:
    """With jitter a wait is between half of what it would be and all of it."""
    app, _ = land.both(retry=60)

    job = app.enqueue(tasks.jittery, str(land.file()))
    final(job)

    assert all(gap >= low for low, gap in zip((0.2, 0.4, 0.8), gaps(land.file()), strict=True))
    assert all(low <= wait <= 2 * low for low, wait in zip((0.2, 0.4, 0.8), waits.of(job, 3), strict=True))


def test_policy_given_with_one_call_beats_the_declared_one(land: Land) -> None:
    """`using(retry=...)` holds for one call."""
    app, _ = land.both(retry=60)

    task = app.task(retry=Retry(max_attempts=1))(tasks.fail)
    once = task.enqueue("no", str(land.file("once")))
    twice = task.using(retry=Retry(max_attempts=2, backoff=0.05)).enqueue("no", str(land.file("twice")))

    assert (final(once).attempts, final(twice).attempts) == (1, 2)


@pytest.mark.parametrize("how", ["exit", "clean", "abort", "segfault", "kill"])
def test_task_that_kills_its_worker_is_run_max_crashes_times_and_dead_lettered(land: Land, how: str) -> None:
    """A poison message cannot loop for ever: three crashes, then it is a dead letter."""
    app, cluster = land.both(workers=1, max_crashes=2, max_attempts=0)

    result = final(app.enqueue(tasks.die, how, str(land.file())))

    assert (result.state, result.crashes, result.attempts) == (State.FAILED, 2, 0)
    assert result.error.startswith("WorkerDied: its worker process ")
    assert len(lines(land.file())) == 2
    with app.runtime.brokers.connection() as broker:
        (letter,) = until(broker.dead_letters)
    assert letter.reason.startswith("crashed its worker 2 times: WorkerDied")
    assert app.enqueue(tasks.add, 1, 1).result(wait=100) == 2
    assert dict(cluster.status().reincarnations) == {"crashed": 2}


def test_neighbours_of_a_crash_are_not_charged(land: Land) -> None:
    """What a batch held beside a task that kills its worker runs once each."""
    app = land.app(max_crashes=2)
    calls = [app.task(tasks.pid).bind(str(land.file())) for _ in range(60)]
    calls.insert(30, app.task(tasks.die).bind("segfault"))
    jobs = app.enqueue_many(calls)

    land.cluster(workers=1, max_crashes=2)

    results = finals(jobs)
    assert results[30].state is State.FAILED
    assert all(result.crashes == 0 and result.success for n, result in enumerate(results) if n != 30)
    assert len(lines(land.file())) == 60


def test_dead_letter_is_requeued_and_runs_with_all_its_attempts(land: Land) -> None:
    """A requeued dead letter begins anew: its failures and crashes are forgotten."""
    app, _ = land.both(retry=1, max_attempts=2)
    job = app.enqueue(tasks.fail_first, 3, str(land.file()))
    assert final(job).error == "OSError: run 2"

    with app.runtime.brokers.connection() as broker:
        (letter,) = until(broker.dead_letters)
        assert broker.requeue([letter.id]) == 1
        assert broker.dead_letters() == []

    result = until(lambda: found if (found := job.fetch()) and found.success else None)
    assert (result.value, result.attempts) == ("run 4", 2)
    assert app.queue.size().dead_letters == 0


def test_result_that_cannot_be_kept_fails_the_task_without_running_it_again(land: Land) -> None:
    """It did run: what it returned is lost, so it is a failure, and it is not repeated."""
    app, _ = land.both(retry=1, max_result=1000)

    large = final(app.enqueue(tasks.blob, 2000))
    strange = final(app.enqueue(tasks.unwritable, "lock"))

    assert "2005 bytes" in large.error or "max_result allows 1000" in large.error
    assert "lock" in strange.error
    assert (large.attempts, strange.attempts) == (1, 1)
    until(lambda: app.queue.size().leased == 0)
    assert (app.queue.size().dead_letters, app.queue.size().delayed) == (0, 0)


def test_delayed_task_starts_when_its_delay_is_over(land: Land) -> None:
    """A task with a delay is not started before it, and needs nobody to start after it."""
    app = land.app()

    job = app.task(tasks.add).using(delay=0.7).enqueue(1, 2)
    (waiting,) = app.waiting()
    land.cluster()
    result = final(job)

    assert waiting.delay <= 0.7
    assert result.started - result.enqueued >= 0.7
    assert result.value == 3


def test_expired_task_is_not_started(land: Land) -> None:
    """What waited longer than `expires` fails unrun and says so."""
    app = land.app()
    job = app.task(tasks.pid).using(expires=0.05).enqueue(str(land.file()))
    fresh = app.task(tasks.pid).using(expires=60).enqueue()
    until(lambda: time.time() * 1000 > int(job.id[:12], 16) + 60)

    land.cluster()

    assert final(job).state is State.FAILED
    assert "expired" in final(job).error
    assert final(fresh).success
    assert lines(land.file()) == []


def test_group_and_label_come_back_with_the_result(land: Land) -> None:
    """Free text and group of a call stand in its result, and the group can be asked for."""
    app, _ = land.both()

    task_id = app.async_task(tasks.add, 1, 2, group="sums", task_name="my first")
    result = app.results.fetch(task_id, wait=100)

    assert result is not None
    assert (result.group, result.label, result.value) == ("sums", "my first", 3)
    with app.runtime.stores.connection() as store:
        assert [stored.id.hex() for stored in store.group("sums")] == [task_id]


@pytest.mark.parametrize("counted", [True, False])
def test_a_task_asks_to_run_later(land: Land, counted: bool) -> None:
    """A counted run is an attempt; one that is not leaves neither a result nor a trace in the next."""
    app, _ = land.both(retry=3600, timeout=60)
    job = app.task(tasks.later).enqueue(str(land.file()), 2, counted)

    assert job.result(wait=60)["attempt"] == (3 if counted else 1)
    result = job.fetch()
    assert result is not None
    assert result.attempts == (3 if counted else 1)


def test_a_task_may_ask_as_often_as_it_has_attempts(land: Land) -> None:
    """With them used up its reason is the error; uncounted ones go on whatever `max_attempts` is."""
    app, _ = land.both(max_attempts=2)
    job = app.task(tasks.later).enqueue(str(land.file("a")), 9, counted=True)
    other = app.task(tasks.later).enqueue(str(land.file("b")), 9, counted=False)

    with pytest.raises(TaskFailed, match="RunLater: the other side is busy"):
        job.result(wait=60)
    assert other.result(wait=60)["attempt"] == 1
    assert app.queue.size().dead_letters == 1
