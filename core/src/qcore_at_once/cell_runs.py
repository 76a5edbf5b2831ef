"""One of the tasks that run at once, and its journal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from qcore.errors import NotSupported
from qcore.journal.progress import PAGE
from qcore.model import Kind
from qcore.tasks.transaction import CURRENT

if TYPE_CHECKING:
    from qcore.journal.cells import Cells
    from qcore.journal.records import HeldMessage
    from qcore.model import Outcome
    from qcore.status import Progress
    from qcore.tasks.execute import Raised
    from qcore.workers.leased import LeasedMessage
    from qcore_at_once.awaited import AwaitedRun
    from qcore_at_once.threaded import ThreadRun


class NoTransaction:
    """What `qcore.transaction` finds where tasks share a worker, and with it a connection."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def block(self) -> NoReturn:
        """Refuse."""
        msg = (
            "qcore.transaction() needs the connection of the worker, and several tasks run in this one; "
            "declare the task with alone=True"
        )
        raise NotSupported(msg)


class CellRun:
    """One message in a cell of the journal, from its lease to its settlement."""

    __slots__ = (
        "_cells", "cell", "deadline", "held", "held_at", "leased", "message", "raised", "run", "started",
        "stopped", "waited",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917 - one is made for each message
        self,
        cells: Cells,
        cell: int,
        message: LeasedMessage,
        held: HeldMessage,
        now: int,
        leased: float,
        waited: float,
    ) -> None:
        self._cells = cells
        #: which cell
        self.cell = cell
        self.message = message
        self.held = held
        #: epoch seconds when it was leased
        self.leased = leased
        #: seconds for which it had waited then; 0 = not known, as of one that was delivered or put off before
        self.waited = waited if message.deliveries == 1 and not message.plan.head.delayed else 0.0
        #: monotonic nanoseconds: since when it is in the cell, since when it runs, and until when it may
        self.held_at = now
        self.started = self.deadline = 0
        #: why it was interrupted
        self.stopped: Kind | None = None
        #: None while it has not begun
        self.run: AwaitedRun[CellRun] | ThreadRun | None = None
        self.raised: Raised | None = None

    # -- what the journal says of it, see `RunJournal` and `ReportsProgress` --------------------

    def last_progress(self) -> Progress | None:
        """Return what it has reported."""
        return self._cells.progress(self.cell)

    def lease_times(self) -> tuple[int, int]:
        """Return when it was leased and its lease last extended, monotonic nanoseconds, 0 = not yet."""
        return self._cells.lease_times(self.cell)

    def report_progress(self, done: float, total: float, note: str) -> None:
        """Record its progress, unless it has ended: the cell may be another's by then."""
        if self.run is not None:
            self._cells.report(self.cell, done, total, note)

    def running_message(self) -> HeldMessage | None:
        """Return its message; None if it has ended."""
        return None if self.run is None else self.held

    # -- its end --------------------------------------------------------------------------------

    def take_raised(self) -> Raised | None:
        """Return what it raised, once."""
        raised, self.raised = self.raised, None
        return raised

    def enter(self, transaction: Any) -> None:  # noqa: ANN401 - stands in for another class
        """Make the context of this call that of the task."""
        PAGE.set(self)
        CURRENT.set(transaction)

    def why_to_stop(self, now: int) -> Kind | None:
        """Return why it must be interrupted now, None if it need not be."""
        if self.stopped is not None or self.run is None:
            return None
        if self._cells.is_cancelled(self.cell):
            return Kind.CANCELLED
        return Kind.TIMEOUT if self.deadline and now >= self.deadline else None


def outcome_of(run: ThreadRun) -> Outcome:
    """Return how a run in a thread ended."""
    if run.outcome is None:
        msg = "a thread of tasks has ended; its traceback is in the log"
        raise RuntimeError(msg)
    return run.outcome
