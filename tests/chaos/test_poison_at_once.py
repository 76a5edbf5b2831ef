"""A task that kills a worker full of others is dead-lettered in time, and none of the others is charged."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from qcore.model import State
from tests.integration import many_tasks
from tests.integration.land import final, finals, lines

if TYPE_CHECKING:
    from tests.integration.land import Land

pytestmark = pytest.mark.chaos

#: how many are beside the one that kills
GOOD = 199
#: how many kill, one after the other
ROUNDS = 10


@pytest.mark.early
def test_poison_among_two_hundred_coroutines_is_charged_alone(land: Land) -> None:
    """It is charged for each run that it is alone in, and the others for none."""
    settings = {"workers": 2, "coroutines": 200, "save_limit": 0, "max_crashes": 2, "recycle": 0}
    app, _ = land.both(**settings)
    good, bad = app.task(many_tasks.record), app.task(many_tasks.poison)
    path = str(land.file("good"))
    for number in range(ROUNDS):
        calls = [good.bind(path, number * GOOD + step, 0.05) for step in range(GOOD)]
        calls.insert(17 * number, bad.bind(str(land.file("bad"))))
        jobs = app.enqueue_many(calls)
        victim = jobs.pop(17 * number)

        result = final(victim)
        assert (State.FAILED, 2) == (result.state, result.crashes)
        assert {(State.SUCCESS, 1, 0)} == {(one.state, one.attempts, one.crashes) for one in finals(jobs)}

    with app.runtime.brokers.connection() as broker:
        size = broker.size()
        letters = broker.dead_letters(100)
    assert (0, 0, ROUNDS) == (size.ready, size.leased, size.dead_letters)
    assert all("crashed its worker 2 times" in letter.reason for letter in letters)
    runs = Counter(map(int, lines(land.file("good"))))
    assert set(range(ROUNDS * GOOD)) == set(runs)
