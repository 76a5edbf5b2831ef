"""A task that ends just as its time does is judged once, and its neighbours never."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos import tasks
from tests.chaos.witness import Witness

if TYPE_CHECKING:
    from tests.integration.land import Land

pytestmark = pytest.mark.chaos

TIMEOUT = 0.15


@pytest.mark.parametrize(
    ("task", "durations"),
    [
        # the exception comes about when the task ends by itself
        (tasks.record, [TIMEOUT + step / 1000 for step in range(-20, 40, 2)]),
        # the worker is killed a second later, about when the task ends by itself
        (tasks.stubborn, [TIMEOUT + 1 + step / 1000 for step in range(-20, 60, 8)]),
    ],
    ids=["soft", "hard"],
)
def test_whether_in_time_or_late_no_neighbour_is_charged(
    land: Land, task: object, durations: list[float]
) -> None:
    """Each of them has one verdict, each innocent between them has run once and succeeded."""
    settings = {"timeout": TIMEOUT, "ack_failures": True, "save_limit": 0, "retry": 5}
    app = land.app(**settings)
    witness = Witness(app, land.file())
    slow = app.task(task)  # type: ignore[call-overload]  # one of two functions
    # a busy machine may hold them up, and that is not what they are judged for
    quick = app.task(timeout=60)(tasks.record)
    calls: list[Any] = []
    edge, innocent = [], []
    for number, seconds in enumerate(durations):
        edge.append(len(calls))
        calls.append(slow.bind(str(witness.path), number, seconds))
        for other in range(5):
            innocent.append(len(calls))
            calls.append(quick.bind(str(witness.path), 1000 + number * 5 + other))
    jobs = app.enqueue_many(calls)

    land.cluster(**settings)
    witness.drained()

    results = witness.results(jobs)
    for place in innocent:
        assert (True, 1, 0) == (results[place].success, results[place].attempts, results[place].crashes)
    for place in edge:
        assert results[place].crashes == 0
        assert results[place].success or results[place].error.startswith("TaskTimeout: ")
    # a task that was judged is not run again; one whose worker was killed for another may be
    assert set(range(len(durations))) == {number for number in witness.runs() if number < 1000}
    assert {1} == {count for number, count in witness.runs().items() if number >= 1000}
