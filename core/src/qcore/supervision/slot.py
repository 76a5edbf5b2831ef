"""One place in the pool, and what a worker left there."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from qcore.journal.records import ExitReason, PageSnapshot, WorkerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.journal.pages import Page
    from qcore.supervision.zygote import Notice


class Slot:
    """One place in the pool and the worker in it."""

    def __init__(self, number: int, page: Page, cpus: Sequence[int]) -> None:
        self.number = number
        self.page = page
        self.cpus = list(cpus)
        #: 0 while there is no worker
        self.pid = 0
        self.owner = b""
        #: monotonic seconds
        self.started = 0.0
        #: monotonic seconds at which a new worker is to be started; None = not at all
        self.due: float | None = None
        #: why we killed it: `timeout`, `cancelled` or `stop`, empty if we did not
        self.killed = ""
        #: a worker was ordered, and no word of it has come yet
        self.ordered = False
        #: the batch and position a soft timeout was sent for
        self.warned: tuple[int, int] = (0, 0)
        #: the batch and position the worker was killed for
        self.killed_for: tuple[int, int] = (0, 0)
        #: the batch and position that was called off, monotonic nanoseconds when it was, and
        #: when the worker was last told
        self.cancelled: tuple[int, int] = (0, 0)
        self.called_at = 0
        self.signalled_at = 0


class WorkerExit:
    """A worker that is no more, and what its page said at the end."""

    def __init__(self, slot: Slot, notice: Notice) -> None:
        self.slot = slot.number
        self.pid = slot.pid
        self.owner = slot.owner
        self.killed = slot.killed
        self.killed_for = slot.killed_for
        self.cancelled = slot.cancelled
        #: monotonic nanoseconds when its leases were last prolonged, 0 = not yet
        self.renewed = slot.page.commands.renewed
        #: as of `os.waitstatus_to_exitcode`
        self.status = notice.status
        self.seen: PageSnapshot = slot.page.snapshot()
        #: read before the page is reused
        self.left = slot.page.read(self.seen) or ([], [])
        self.lived = time.monotonic() - slot.started

    @property
    def cause(self) -> str:
        """Return `recycled`, `memory`, `stopped`, `timeout`, `cancelled`, `broken` or `crashed`."""
        if self.killed:
            return "stopped" if self.killed == "stop" else self.killed
        if self.status == 0 and self.seen.state == WorkerState.LEAVING:
            return ExitReason(self.seen.reason).name.lower()
        return "crashed"

    @property
    def crashed(self) -> bool:
        """Whether it ended by a fault, and not as planned or because we ended it."""
        return self.cause in {"crashed", "broken"}

    @property
    def clean(self) -> bool:
        """Whether it left by itself with everything settled, so that there is nothing to rescue.

        One that was stopped may have been interrupted in the middle of a lease.
        """
        return self.cause in {"recycled", "memory"} and self.seen.settled == self.seen.count

    @property
    def death(self) -> str:
        """Say how it died."""
        if self.status < 0:
            try:
                name = signal.Signals(-self.status).name
            except ValueError:
                name = "an unknown signal"
            hint = ", perhaps for lack of memory" if self.status == -signal.SIGKILL else ""
            return f"its worker process was killed by {name} ({-self.status}){hint}"
        return f"its worker process ended with exit code {self.status}"
