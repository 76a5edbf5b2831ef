"""A worker killed at any step of its cycle costs what that step may cost and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.chaos import tasks
from tests.chaos.failpoints import APART, ONCE_STEPS, SEPARATE, STEPS, TOGETHER, arm
from tests.chaos.witness import TIMEOUT, Witness

if TYPE_CHECKING:
    from tests.integration.land import Land

pytestmark = pytest.mark.chaos

TASKS: Final = 60
DEATHS: Final = 2
#: what one death at a step costs: runs too many, crashes charged
COST: Final = {
    "leased": (0, 0),
    "held": (0, 0),
    "begun": (0, 1),
    "ran": (1, 1),
    "noted": (0, 0),
    "unsettled": (0, 0),
    "written": (0, 0),
    "uncommitted": (0, 0),
    "saved": (0, 0),
    "settled": (0, 0),
}
SETTINGS: Final = {
    "broker_class": "tests.chaos.failpoints.DyingBroker",
    "retry": 1,
    "save_limit": 0,
    "max_crashes": 0,
}


@pytest.mark.parametrize("apart", [False, True], ids=["one database", "two services"])
@pytest.mark.parametrize("step", STEPS)
def test_a_death_at_this_step_loses_nothing(
    land: Land, monkeypatch: pytest.MonkeyPatch, step: str, apart: bool
) -> None:
    """Every task has run and succeeded, each death has cost what the table says, nothing is left over."""
    if step == (TOGETHER if apart else SEPARATE):
        pytest.skip("with one database results and settlements are one step, with two services they are not")
    app = land.app(**SETTINGS)
    witness = Witness(app, land.file())
    task = app.task(tasks.record)
    jobs = app.enqueue_many([task.bind(str(witness.path), number) for number in range(TASKS)])
    lives = land.folder / "lives"
    for name, value in arm(lives, step, DEATHS).items():
        monkeypatch.setenv(name, value)
    if apart:
        monkeypatch.setenv(APART, "yes")

    land.cluster(**SETTINGS)
    witness.drained()
    results = witness.all_succeeded(jobs)

    runs, crashes = COST[step]
    assert not list(lives.iterdir())
    assert set(range(TASKS)) == set(witness.runs())
    assert TASKS + DEATHS * runs == witness.runs().total()
    assert DEATHS * crashes == sum(one.crashes for one in results)


@pytest.mark.parametrize("step", ["noted", "unsettled", "saved", "settled"])
def test_a_failure_is_charged_once_whatever_step_its_worker_dies_at(
    land: Land, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Attempts are exact: none is lost and none is counted twice."""
    settings = SETTINGS | {"max_attempts": 3, "retry": 0.2}
    monkeypatch.setenv(APART, "yes")
    for name, value in arm(land.folder / "lives", step, DEATHS).items():
        monkeypatch.setenv(name, value)
    app = land.app(**settings)
    witness = Witness(app, land.file())
    task = app.task(tasks.fail)
    jobs = app.enqueue_many([task.bind(str(witness.path), number) for number in range(10)])

    land.cluster(**settings)
    witness.drained(dead_letters=10)

    assert dict.fromkeys(range(10), 3) == witness.runs()
    assert {(3, 0, "ValueError")} == {
        (one.attempts, one.crashes, one.error.partition(":")[0]) for one in witness.results(jobs)
    }


@pytest.mark.parametrize("apart", [False, True], ids=["one database", "two services"])
@pytest.mark.parametrize("step", ONCE_STEPS)
def test_a_task_that_may_run_once_runs_once_or_not_at_all(
    land: Land, monkeypatch: pytest.MonkeyPatch, step: str, apart: bool
) -> None:
    """Wherever workers die, no task runs twice, each has an end, and its end tells whether it ran."""
    for name, value in arm(land.folder / "lives", step, DEATHS).items():
        monkeypatch.setenv(name, value)
    if apart:
        monkeypatch.setenv(APART, "yes")
    app = land.app(**SETTINGS)
    witness = Witness(app, land.file())
    task = app.task(tasks.record).using(at_most_once=True)
    jobs = app.enqueue_many([task.bind(str(witness.path), number) for number in range(10)])

    land.cluster(**SETTINGS)
    witness.drained()
    results = witness.results(jobs, TIMEOUT)

    assert not list((land.folder / "lives").iterdir())
    assert set(witness.runs().values()) == {1}
    succeeded = {number for number, one in enumerate(results) if one.success}
    assert {"interrupted"} >= {one.kind for one in results if not one.success}
    assert succeeded <= set(witness.runs())
    assert len(results) - len(succeeded) <= DEATHS
