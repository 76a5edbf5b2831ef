"""What a broker lacks breaks no promise: on real clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore.cluster import check_backends
from qcore.errors import PartlyEnqueued
from qcore.model import State
from tests.integration import many_tasks, tasks
from tests.integration.land import final, finals, lines, until

if TYPE_CHECKING:
    from qcore import App
    from tests.integration.land import Land

pytestmark = pytest.mark.portable

#: a short lease: what was settled wrongly comes back within the test
SETTINGS = {"retry": 1.0, "timeout": 0.8, "workers": 1, "max_attempts": 2}


def broker(name: str) -> dict[str, object]:
    """Return settings of a queue kept by a broker that lacks something."""
    return SETTINGS | {"broker_class": f"tests.integration.strange_brokers.{name}"}


def drained(app: App) -> bool:
    """Return whether the queue holds nothing."""
    size = app.queue.size()
    return (size.ready, size.leased, size.delayed, size.dead_letters) == (0, 0, 0, 0)


def test_without_dead_letters_a_failure_is_stored_and_ends(land: Land) -> None:
    """A message that failed for good does not come back, and no neighbour runs twice."""
    settings = broker("NoDeadLetters") | {"max_attempts": 1}
    app = land.app(**settings)
    good = [app.task(tasks.note).bind(str(land.file()), str(number)) for number in range(120)]
    bad = app.task(tasks.fail).bind("no", str(land.file("bad")))
    jobs = app.enqueue_many([*good[:60], bad, *good[60:]])
    land.cluster(**settings)

    results = finals(jobs)
    until(lambda: drained(app), "the queue to be empty")

    assert [one.state for one in results].count(State.FAILED) == 1
    assert sorted(lines(land.file()), key=int) == [str(number) for number in range(120)]
    assert len(lines(land.file("bad"))) == 1


@pytest.mark.parametrize("name", ["NoCounters", "NoDelays", "NoDelaysOrExtensions"])
def test_a_task_runs_as_often_as_it_may(land: Land, name: str) -> None:
    """`max_attempts` holds although the broker does not count, or cannot delay the next run."""
    app, _ = land.both(**broker(name))

    job = app.enqueue(tasks.fail, "no", str(land.file()))

    assert final(job).attempts == 2
    until(lambda: app.queue.size().ready == app.queue.size().leased == 0, "the queue to be empty")
    assert len(lines(land.file())) == 2


def test_a_call_that_is_accepted_in_part_may_be_repeated_for_the_rest(land: Land) -> None:
    """The error says which tasks are enqueued, and only the keys of the others are released."""
    app = land.app(**broker("AcceptsThree"))
    unique = app.task(tasks.add).using(unique=True)
    calls = [unique.bind(number, 1) for number in range(5)]

    with pytest.raises(PartlyEnqueued, match="the line broke") as caught:
        app.enqueue_many(calls)

    jobs = caught.value.jobs
    assert [job is None for job in jobs] == [False, False, False, True, True]
    assert app.queue.size().ready == 3
    again = app.enqueue_many(calls)
    assert [job.duplicate for job in again] == [True, True, True, False, False]
    assert [job.id for job in again[:3]] == [job.id for job in jobs if job is not None]
    assert app.queue.size().ready == 5


@pytest.mark.parametrize("name", ["NoCounters", "NoDelays"])
def test_a_suspect_is_told_from_a_crash_by_its_result(land: Land, name: str) -> None:
    """Where the broker counts nothing, who kills a worker full of others is still charged alone."""
    settings = broker(name) | {"max_crashes": 1, "coroutines": 10, "timeout": 60, "retry": 20.0}
    app = land.app(**settings)
    good = [app.task(many_tasks.record).bind(str(land.file()), number, 0.05) for number in range(8)]
    jobs = app.enqueue_many([*good, app.task(many_tasks.poison).bind(str(land.file("bad")))])
    land.cluster(**settings)

    *others, victim = finals(jobs)

    assert (State.FAILED, 1) == (victim.state, victim.crashes)
    assert [(State.SUCCESS, 0)] * 8 == [(one.state, one.crashes) for one in others]


def test_what_a_death_may_lose_is_said_at_the_start(land: Land, caplog: pytest.LogCaptureFixture) -> None:
    """A broker that keeps nothing of what it hands out loses all that one worker runs."""
    told = "a worker that dies loses up to 7 tasks that it runs"

    check_backends(land.app(**broker("NoReceipts"), coroutines=7).config)
    check_backends(land.app(**broker("NoReceipts"), coroutines=1).config)
    check_backends(land.app(coroutines=7).config)

    assert [told in line for line in caplog.messages] == [True]
