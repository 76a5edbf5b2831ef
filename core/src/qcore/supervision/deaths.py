"""How the tasks ended that ran in a worker when it died."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from qcore.model import Action, Kind, Outcome, State
from qcore.tasks.outcomes import interruption
from qcore_cells.cells import CellState
from qcore_reports.frames import format_stack
from qcore_text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.journal.cells import LeftCell
    from qcore.status import Progress
    from qcore.supervision.slot import WorkerExit
    from qcore_cells.cells import Cell


class Death(NamedTuple):
    """How one run ended that died with its worker, and what the journal says of it."""

    kind: Kind
    #: the text of its error
    text: str
    #: monotonic nanoseconds: when it began, when it was leased, when its lease was last extended
    started: int
    leased: int
    renewed: int
    #: crashes that its code allows, None = see its message
    max_crashes: int | None
    progress: Progress | None
    #: see `ErrorReport`
    stack: Sequence[tuple[str, int, str]]
    pid: int
    #: it ran beside others, and which of them is to blame is unknown
    suspected: bool = False

    def outcome(self) -> Outcome:
        """Return how the run ended."""
        now = time.time()
        started = now - max(0.0, time.monotonic() - self.started / 1e9)
        trace = format_stack(tuple(self.stack))
        return Outcome(self.kind, None, self.text, trace, started=started, finished=now)


def death_of_running(gone: WorkerExit) -> Death:
    """Return how the run ended that was the only one of its worker."""
    kind, text = _kind(gone)
    seen = gone.seen
    return Death(
        kind,
        text,
        seen.started,
        seen.leased,
        gone.renewed,
        gone.max_crashes,
        gone.progress,
        gone.stack,
        gone.pid,
    )


def _kind(gone: WorkerExit) -> tuple[Kind, str]:
    position = gone.seen.position
    if gone.cancelled == position:
        # However the worker died, this task was to end.
        return Kind.CANCELLED, interruption(Kind.CANCELLED, 0.0)
    if gone.killed == "timeout" and position == gone.killed_for:
        return Kind.TIMEOUT, interruption(Kind.TIMEOUT, (gone.seen.deadline - gone.seen.started) / 1e9)
    if gone.killed:
        # The worker was stopped, or the task it was killed for had just ended: not this task's fault.
        return Kind.INTERRUPTED, ""
    return Kind.CRASH, f"WorkerDied: {gone.death}"


def death_in_cell(gone: WorkerExit, left: LeftCell) -> Death:
    """Return how one of the runs ended that a worker had begun."""
    kind, text, suspected = _kind_in_cell(gone, left.cell)
    cell = left.cell
    return Death(
        kind,
        text,
        cell.started,
        cell.leased,
        cell.renewed,
        cell.max_crashes - 1 if cell.max_crashes else None,
        left.progress,
        gone.stack if kind is Kind.TIMEOUT else (),
        gone.pid,
        suspected,
    )


def _kind_in_cell(gone: WorkerExit, cell: Cell) -> tuple[Kind, str, bool]:
    running = sum(one.cell.state == CellState.RUNNING for one in gone.cells)
    if cell.use in gone.cancelled_uses:
        return Kind.CANCELLED, interruption(Kind.CANCELLED, 0.0), False
    if gone.killed == "timeout" and cell.use in gone.killed_uses:
        return Kind.TIMEOUT, interruption(Kind.TIMEOUT, (cell.deadline - cell.started) / 1e9), False
    if gone.killed or not gone.crashed:
        return Kind.INTERRUPTED, "", False
    if running > 1:
        text = f"WorkerDied: {gone.death} while it ran {counted(running, 'task')} at once"
        return Kind.CRASH, text, True
    return Kind.CRASH, f"WorkerDied: {gone.death}", False


def succeeded(left: LeftCell) -> bool:
    """Return whether a task had succeeded that its dead worker has not counted."""
    if left.ended is None:
        return left.cell.state == CellState.SUCCEEDED
    if left.ended.result is None:
        return left.ended.settlement.action is Action.ACK
    return left.ended.result.state is State.SUCCESS
