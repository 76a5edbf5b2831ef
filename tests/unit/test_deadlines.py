"""The supervisor kills a worker that hangs, and no other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qcore.journal.memory import Journal
from qcore.journal.records import WorkerState
from qcore.supervision.deadlines import Watchdog
from qcore.supervision.slot import Slot
from qcore_cells.cells import CellState

SECOND = 1_000_000_000


@pytest.mark.parametrize(("state", "why"), [(CellState.RUNNING, []), (CellState.SUCCEEDED, ["frozen"])])
def test_a_worker_that_settles_for_ever_is_frozen(state: CellState, why: list[str]) -> None:
    """What it ran at once has ended, and it gives no sign; while something runs it may be silent."""
    page = Journal.create(1).page(0)
    page.set_state(WorkerState.BUSY)
    page.commands.mark_beat()
    page.cells.open(2)
    page.cells.hold_data(0, b"a message", 1)
    page.cells.begin(0, 1, 0)
    if state is CellState.SUCCEEDED:
        page.cells.succeed(0)
    killed: list[str] = []
    pool: Any = SimpleNamespace(signal=lambda *why: killed.append(why[-1]))
    slot = Slot(0, page, ())
    slot.looked_at = SECOND

    for now in range(2, 25):
        Watchdog(pool, SimpleNamespace()).look(slot, page.snapshot(), now * SECOND)  # type: ignore[arg-type]  # unused

    assert sorted(set(killed)) == why
