"""Queues and priorities on real clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore import QueueSize
from tests.integration import flow_tasks, tasks
from tests.integration.land import lines, until

if TYPE_CHECKING:
    from tests.integration.land import Land

SETTINGS: dict[str, Any] = {"retry": 30, "workers": 1, "preload": ["tests.integration.flow_tasks"]}


def test_a_task_knows_its_queue_and_priority(land: Land) -> None:
    """It learns of them by `qcore.current`."""
    app, _ = land.both(**SETTINGS)

    found: Any = app.task(tasks.who_am_i).using(queue="mail", priority=5).enqueue().result(wait=45)

    assert ("land", "mail", 5) == (found["cluster"], found["queue"], found["priority"])


def test_urgent_tasks_overtake_what_waits(land: Land) -> None:
    """A cluster begins with the highest priority of all queues."""
    app = land.app(**SETTINGS)
    note = app.task(tasks.note)
    path = str(land.file())
    app.enqueue_many([note.bind(path, "low") for _ in range(20)])
    app.enqueue_many([note.using(queue="mail", priority=-3).bind(path, "lower")])
    app.enqueue_many([note.using(queue="mail", priority=3).bind(path, "high")])

    land.cluster(**SETTINGS)

    until(lambda: len(lines(land.file())) == 22)
    assert ["high", *["low"] * 20, "lower"] == lines(land.file())


def test_a_cluster_runs_the_queues_it_is_told(land: Land) -> None:
    """In their order; the others are left to other clusters."""
    app = land.app(**SETTINGS)
    note = app.task(tasks.note)
    path = str(land.file())
    for queue in ("reports", "default", "mail"):
        app.enqueue_many([note.using(queue=queue).bind(path, queue) for _ in range(3)])

    first = land.cluster(**SETTINGS, queues=["mail", "default"])

    until(lambda: len(lines(land.file())) == 6)
    until(lambda: app.queue.size() == QueueSize(3, 0, 0, 0))
    assert [*["mail"] * 3, *["default"] * 3] == lines(land.file())
    first.stop()
    land.cluster(**SETTINGS, queues={"reports": 2, "mail": 1})
    until(lambda: lines(land.file())[6:] == ["reports"] * 3)


def test_what_follows_is_in_its_queue(land: Land) -> None:
    """Links of a chain have their own queue, and a hook that of its task."""
    app = land.app(**SETTINGS)
    double = app.task(flow_tasks.double)
    path = str(land.file())
    land.cluster(**SETTINGS, queues=["mail", "reports"])

    chain = app.chain(
        [
            double.using(queue="mail").bind(1),
            double.using(queue="reports", hook=flow_tasks.hook, label=path, priority=2),
        ],
        pipe_result=True,
    )

    assert 4 == chain.result(wait=45)
    until(lambda: lines(land.file()) == ["success 4 "])


@pytest.mark.parametrize("given", [{"queue": "a b"}, {"queue": ""}, {"priority": 101}, {"priority": -101}])
def test_what_is_no_queue_is_refused(land: Land, given: dict[str, Any]) -> None:
    """One error that says what it may be."""
    app = land.app(**SETTINGS)

    with pytest.raises(ValueError, match=r"must be (1 to 64 letters|-100 to 100)"):
        app.task(tasks.note).using(**given)
