"""A slot of the pool, and the exit of its worker."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from qcore.journal.records import ExitReason, PageSnapshot, WorkerState
from qcore_cells.cells import CellState
from qcore_process.pidfds import ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.journal.pages import Page
    from qcore.supervision.protocol import Notice


class Slot:
    """One slot of the pool and the worker in it."""

    def __init__(self, number: int, page: Page, cpus: Sequence[int]) -> None:
        self.number = number
        self.page = page
        self.cpus = list(cpus)
        #: 0 while there is no worker
        self.pid = 0
        #: names the worker's process for the kernel, -1 where it has no such name
        self.pidfd = -1
        #: monotonic seconds at which the worker was first seen to have ended, though the zygote has not
        #: said so
        self.ended_at: float | None = None
        self.owner = b""
        #: process id of the zygote that was asked for the worker
        self.forked_by = 0
        #: when the zygote was asked for the worker, monotonic seconds
        self.started = 0.0
        #: monotonic seconds at which a new worker is started; None = not at all
        self.start_at: float | None = None
        #: why the supervisor killed it: `timeout`, `cancelled`, `frozen` or `stop`, empty if it did not
        self.killed = ""
        #: the zygote was asked for a worker, and has not answered yet
        self.spawning = False
        #: the run a soft timeout was sent for, see `PageSnapshot.position`
        self.soft_timeout_for: tuple[int, int] = (0, 0)
        #: the run for which the worker was asked where it hangs, and what it answered, see `ErrorReport`
        self.dumped_for: tuple[int, int] = (0, 0)
        self.stack: tuple[tuple[str, int, str], ...] = ()
        #: the run the worker was killed for
        self.killed_for: tuple[int, int] = (0, 0)
        #: the run that was cancelled, monotonic nanoseconds when it was, and when the worker last got
        #: a signal for it
        self.cancelled: tuple[int, int] = (0, 0)
        self.cancelled_at = 0
        self.signalled_at = 0
        #: of those that run at once, by the number of their use: monotonic nanoseconds when they were
        #: cancelled, those that it was killed for, and when it last got a signal for one of them
        self.cancelled_uses: dict[int, int] = {}
        self.killed_uses: frozenset[int] = frozenset()
        self.interrupted_at = 0
        #: the last sign of a worker that runs no task, when it was looked for, and for how long it has
        #: been missed, nanoseconds
        self.beat = 0
        self.looked_at = 0
        self.missed = 0

    def send(self, number: int) -> bool:
        """Send the worker a signal; return False if only the zygote can, because there is no pidfd."""
        if self.pidfd < 0:
            return False
        with suppress(ProcessLookupError):  # it has ended, and the zygote says so in a moment
            signal.pidfd_send_signal(self.pidfd, number)
        return True

    def has_ended(self) -> bool:
        """Return whether the worker's process has ended, as far as the kernel says."""
        return self.pidfd >= 0 and ended(self.pidfd)

    def is_starting(self, since: float) -> bool:
        """Return whether the worker was asked for before `since`, monotonic seconds, and is not ready."""
        return self.started < since and self.page.snapshot().state == WorkerState.STARTING

    def clear(self) -> None:
        """Forget a worker that has ended."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self.pid, self.pidfd, self.ended_at, self.spawning = 0, -1, None, False
        self.soft_timeout_for = self.dumped_for = self.killed_for = self.cancelled = (0, 0)
        self.stack = ()
        self.cancelled_uses, self.killed_uses, self.interrupted_at = {}, frozenset(), 0


class WorkerExit:
    """A worker that has ended, and its page at that time."""

    def __init__(self, slot: Slot, notice: Notice) -> None:
        self.slot = slot.number
        self.pid = slot.pid
        self.owner = slot.owner
        self.killed = slot.killed
        self.killed_for = slot.killed_for
        self.stack = slot.stack
        self.cancelled = slot.cancelled
        #: monotonic nanoseconds when its leases were last extended, 0 = not yet
        self.renewed = slot.page.commands.renewed
        #: as `os.waitstatus_to_exitcode` returns it
        self.status = notice.status
        self.seen: PageSnapshot = slot.page.snapshot()
        #: what ran at once, and what was to
        self.cells = tuple(slot.page.cells.left())
        #: read before the page is reused; of a worker that has left nothing, that is not read at all
        self.left = ([], []) if self.clean else slot.page.read(self.seen) or ([], [])
        self.cancelled_uses = frozenset(slot.cancelled_uses)
        self.killed_uses = slot.killed_uses
        #: the message that was acknowledged before it began, and its workflow header; -1 = none
        self.acknowledged = slot.page.acknowledged(self.seen)
        #: crashes that the code of the running task allows, None = see its message
        self.max_crashes = slot.page.max_crashes(self.seen)
        #: the last that the running task reported
        self.progress = slot.page.metrics.progress(*self.seen.position)
        self.lifetime = time.monotonic() - slot.started

    @property
    def cause(self) -> str:
        """Return `recycled`, `memory`, `stopped`, `timeout`, `cancelled`, `frozen`, `broken` or `crashed`."""
        if self.killed:
            return "stopped" if self.killed == "stop" else self.killed
        if self.status == 0 and self.seen.state == WorkerState.LEAVING:
            return ExitReason(self.seen.reason).name.lower()
        return "crashed"

    @property
    def crashed(self) -> bool:
        """Whether it ended by an error, neither as planned nor because the supervisor killed it."""
        return self.cause in {"crashed", "broken"}

    @property
    def clean(self) -> bool:
        """Whether it left by itself with everything settled, so that there is nothing to recover.

        A worker that was stopped may have been interrupted in the middle of a lease.
        """
        settled = self.seen.settled == self.seen.count and not self.cells
        return self.cause in {"recycled", "memory"} and settled

    @property
    def running(self) -> int:
        """How many tasks it ran."""
        return (self.seen.running >= 0) + sum(one.cell.state == CellState.RUNNING for one in self.cells)

    @property
    def death(self) -> str:
        """Describe how it died."""
        if self.status < 0:
            try:
                name = signal.Signals(-self.status).name
            except ValueError:
                name = "an unknown signal"
            hint = ", perhaps for lack of memory" if self.status == -signal.SIGKILL else ""
            return f"its worker process was killed by {name} ({-self.status}){hint}"
        return f"its worker process ended with exit code {self.status}"
