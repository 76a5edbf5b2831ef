"""Every interleaving of the retry and ack machine keeps its invariants, and they notice each missing rule."""

from __future__ import annotations

import pytest

from tests.chaos.machine import MUTANTS, Budget, Model

pytestmark = pytest.mark.chaos


@pytest.mark.early
@pytest.mark.parametrize(
    "budget",
    [Budget(deaths=2, expiries=1), pytest.param(Budget(deaths=3, expiries=2), marks=pytest.mark.long)],
    ids=str,
)
def test_the_design_keeps_every_invariant(budget: Budget) -> None:
    """No reachable state breaks one, and from each of them the task comes to its end."""
    worlds, broken = Model(budget).explore()

    assert {} == broken
    assert len(worlds) > 1000


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_rule_taken_out_is_noticed(mutant: str) -> None:
    """Each rule is there for a reason: without it an invariant breaks."""
    deadly = mutant == "deliveries counted at the end"
    budget = Budget(deaths=4, expiries=0, lost=0, stops=0) if deadly else Budget(deaths=3)

    _, broken = Model(budget, mutant).explore(until=MUTANTS[mutant])

    assert MUTANTS[mutant] <= set(broken), broken
