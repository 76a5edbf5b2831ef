"""What is done about tasks that are late, long or cancelled."""

from __future__ import annotations

import logging
import signal
import time
from typing import TYPE_CHECKING, Final

from qcore.journal.records import WorkerState
from qcore_cells.cells import CellState
from qcore_process import stack_dump
from qcore_reports.frames import read_dump

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.journal.records import PageSnapshot
    from qcore.supervision.maintenance import Maintenance
    from qcore.supervision.pool import Pool
    from qcore.supervision.slot import Slot
    from qcore_cells.cells import Cell

_log = logging.getLogger("qcore.cluster")

#: When a task runs longer than this, the finished messages of its batch are settled and the waiting
#: ones released, nanoseconds.
_LONG: Final = 20_000_000
#: Between the exception in a late or cancelled task and the end of its worker, nanoseconds.
_GRACE: Final = 1_000_000_000
#: Between the signal that has a worker say where it hangs and its end, nanoseconds.
_DUMP: Final = 300_000_000
#: Between two signals to a cancelled task, nanoseconds: the first may come before the task can be
#: interrupted. A task is interrupted only once.
_SIGNAL_INTERVAL: Final = 200_000_000
#: A worker without a task gives a sign at least every five seconds. After this without one it is
#: replaced, nanoseconds: more than a call takes that a slow network holds up.
_FROZEN: Final = 20_000_000_000
#: The most that one look counts, nanoseconds: while this process was stopped, so was the worker.
_ONE_LOOK: Final = 1_000_000_000


class Watchdog:
    """Watches workers that are running a task, for the supervisor's loop."""

    def __init__(self, pool: Pool, maintenance: Maintenance) -> None:
        self._pool = pool
        self._maintenance = maintenance
        #: by worker, the run whose neighbours were flushed, see `PageSnapshot.position`
        self._flushed: dict[int, tuple[int, int]] = {}

    def cancel_requested(self) -> None:
        """Take in the tasks that users have cancelled."""
        cells = self._maintenance.control.cancelled_cells
        while cells:
            pid, index, use = cells.popleft()
            for slot in self._pool.alive():
                if slot.pid == pid and use not in slot.cancelled_uses:
                    slot.cancelled_uses[use] = time.monotonic_ns()
                    slot.page.cells.cancel(index, use)
        cancelled = self._maintenance.control.cancelled
        while cancelled:
            pid, seq, begun = cancelled.popleft()
            for slot in self._pool.alive():
                if slot.pid == pid and slot.cancelled != (seq, begun):
                    slot.cancelled = (seq, begun)
                    slot.cancelled_at = time.monotonic_ns()
                    slot.signalled_at = 0
                    slot.page.commands.cancel(seq, begun)

    def look(self, slot: Slot, seen: PageSnapshot, now: int) -> int | None:
        """Check a worker; return for how many nanoseconds its oldest task runs, None if it is idle."""
        if cells := slot.page.cells.in_use():
            running = [one for one in cells if one.state == CellState.RUNNING]
            if not running:
                # It settles what has ended, or leases: a backend may hold it up for ever.
                self.check_idle(slot, seen, now)
                return 0
            self.check_cells(slot, running, now)
            return max(now - one.started for one in running)
        if seen.running >= 0:
            self.check(slot, seen, now)
            return now - seen.started
        self.check_idle(slot, seen, now)
        return None

    def check(self, slot: Slot, seen: PageSnapshot, now: int) -> None:
        """Check a running task: was it cancelled, is it late, does it hold up its batch?"""
        position = seen.position
        if slot.cancelled == position:
            self._cancel(slot, now)
        elif seen.deadline and now >= seen.deadline:
            self._soft_timeout(slot, seen, now)
        if now - seen.started > _LONG and (seen.ended > seen.settled or seen.count > seen.begun):
            if self._flushed.get(slot.pid) != position:
                self._flushed[slot.pid] = position
                self._maintenance.flush(slot, seen)

    def check_cells(self, slot: Slot, running: Sequence[Cell], now: int) -> None:
        """Check the tasks that a worker runs at once: was one cancelled, is one late?"""
        due = {one.use: one.deadline for one in running if one.deadline}
        due |= {one.use: slot.cancelled_uses[one.use] for one in running if one.use in slot.cancelled_uses}
        late = [use for use, when in due.items() if now >= when]
        if not late or slot.killed:
            return
        over = frozenset(use for use in late if now >= due[use] + _GRACE)
        if over:
            slot.killed_uses = over
            cancelled = over <= slot.cancelled_uses.keys()
            why = "cancelled" if cancelled else "timeout"
            self._kill(slot, (0, 0), why, f"does not end its {'cancelled' if cancelled else 'late'} task")
        elif now - slot.interrupted_at > _SIGNAL_INTERVAL:
            slot.interrupted_at = now
            self._pool.signal(slot, signal.SIGALRM)

    def check_idle(self, slot: Slot, seen: PageSnapshot, now: int) -> None:
        """Check a worker that runs no task: does it go on? A broker may have handed it a message."""
        beat = slot.page.commands.beat
        waits = seen.state == WorkerState.IDLE or (
            seen.state == WorkerState.BUSY and seen.count == seen.settled
        )
        if not waits or beat != slot.beat:
            slot.beat, slot.missed = beat, 0
        elif beat:
            slot.missed += min(now - slot.looked_at, _ONE_LOOK)
            if slot.missed > _FROZEN and not slot.killed:
                self._kill(slot, seen.position, "frozen", "does not answer while it waits for a message")
        slot.looked_at = now

    def forget(self, pid: int) -> None:
        """Forget a worker that has ended."""
        self._flushed.pop(pid, None)

    def _cancel(self, slot: Slot, now: int) -> None:
        if now < slot.cancelled_at + _GRACE:
            if now - slot.signalled_at > _SIGNAL_INTERVAL:
                slot.signalled_at = now
                self._pool.signal(slot, signal.SIGALRM)
        elif not slot.killed:
            self._kill(slot, slot.cancelled, "cancelled", "does not end its cancelled task")

    def _soft_timeout(self, slot: Slot, seen: PageSnapshot, now: int) -> None:
        if slot.soft_timeout_for != seen.position:
            slot.soft_timeout_for = seen.position
            self._pool.signal(slot, signal.SIGALRM)
        elif now >= seen.deadline + _GRACE - _DUMP and slot.dumped_for != seen.position:
            slot.dumped_for = seen.position
            self._pool.signal(slot, stack_dump.SIGNAL)
        elif now >= seen.deadline + _GRACE and not slot.killed:
            slot.stack = read_dump(stack_dump.read(slot.pid))
            self._kill(slot, seen.position, "timeout", "does not end its late task")

    def _kill(self, slot: Slot, position: tuple[int, int], why: str, text: str) -> None:
        _log.error("worker %d (pid %d) %s; it is killed", slot.number, slot.pid, text)
        slot.killed_for = position
        self._pool.signal(slot, signal.SIGKILL, why)
