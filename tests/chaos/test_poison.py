"""A task that kills its worker is dead-lettered in time, and no neighbour is charged for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore.model import State
from tests.chaos import tasks
from tests.chaos.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qcore import App
    from qcore.model import DeadLetter
    from tests.integration.land import Land

pytestmark = pytest.mark.chaos

GOOD = 300
POISON = 10_000


@pytest.mark.parametrize("poison", ["segfault", "leave"])
@pytest.mark.parametrize(("max_crashes", "told"), [(1, "1 time:"), (3, "3 times:")])
def test_a_poisonous_task_runs_as_often_as_allowed_and_hurts_nobody(
    land: Land, poison: str, max_crashes: int, told: str
) -> None:
    """Dead-lettered after exactly max_crashes runs; each of its neighbours runs once, uncharged."""
    app = land.app(save_limit=0, max_crashes=max_crashes)
    witness = Witness(app, land.file())
    good = app.task(tasks.record)
    bad = app.task(getattr(tasks, poison))
    calls = [good.bind(str(witness.path), number) for number in range(GOOD)]
    calls.insert(GOOD // 2, bad.bind(str(witness.path), POISON))
    jobs = app.enqueue_many(calls)
    victim = jobs.pop(GOOD // 2)

    land.cluster(save_limit=0, max_crashes=max_crashes)
    witness.drained(dead_letters=1)

    runs = witness.runs()
    assert max_crashes == runs.pop(POISON)
    assert dict.fromkeys(range(GOOD), 1) == runs
    assert {(0, 1)} == {(one.crashes, one.attempts) for one in witness.all_succeeded(jobs)}
    result = victim.fetch()
    assert result is not None
    assert (State.FAILED, max_crashes) == (result.state, result.crashes)
    (letter,) = _dead_letters(app)
    assert f"crashed its worker {told}" in letter.reason


def test_a_module_that_kills_its_importer_is_poison_too(
    land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is charged as the task it is, and dead-lettered."""
    witness_path = land.file()
    (tmp_path / "deadly.py").write_text(
        f"from tests.chaos.tasks import leave\nleave({str(witness_path)!r}, {POISON})\ndef f(): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    app = land.app(save_limit=0, retry=1)
    witness = Witness(app, witness_path)
    good = app.task(tasks.record)
    jobs = app.enqueue_many([good.bind(str(witness.path), number) for number in range(50)])
    victim = app.enqueue("deadly.f")
    jobs += app.enqueue_many([good.bind(str(witness.path), number) for number in range(50, 100)])

    land.cluster(save_limit=0, retry=1)
    witness.drained(dead_letters=1)

    runs = witness.runs()
    assert runs.pop(POISON) == 3
    assert dict.fromkeys(range(100), 1) == runs
    assert {0} == {one.crashes for one in witness.all_succeeded(jobs)}
    result = victim.fetch()
    assert result is not None
    assert (State.FAILED, 3) == (result.state, result.crashes)


def _dead_letters(app: App) -> Sequence[DeadLetter]:
    with app.runtime.brokers.connection() as broker:
        return broker.dead_letters()
