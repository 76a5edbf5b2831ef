"""What is done about tasks late, long, or called off."""

from __future__ import annotations

import logging
import signal
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qcore.journal.records import PageSnapshot
    from qcore.supervision.maintenance import Maintenance
    from qcore.supervision.pool import Pool
    from qcore.supervision.slot import Slot

_log = logging.getLogger("qcore.cluster")

#: A task running longer than this has its finished neighbours settled and its waiting ones
#: given back, nanoseconds.
_LONG: Final = 20_000_000
#: Between the exception in a late task, or one that was called off, and the end of its worker,
#: nanoseconds.
_GRACE: Final = 1_000_000_000
#: Between two signals to a task that was called off: the first may come before it can be
#: interrupted. A task that was is not so again.
_SIGNAL_INTERVAL: Final = 200_000_000


class Watchdog:
    """Watches over workers in mid-task, for the supervisor's loop."""

    def __init__(self, pool: Pool, caretaker: Maintenance) -> None:
        self._pool = pool
        self._caretaker = caretaker
        #: by worker, the batch and position whose neighbours were seen to
        self._tended: dict[int, tuple[int, int]] = {}

    def cancel_requested(self) -> None:
        """Take note of the tasks that users have called off."""
        cancelled = self._caretaker.lookout.cancelled
        while cancelled:
            pid, seq, begun = cancelled.popleft()
            for slot in self._pool.alive():
                if slot.pid == pid and slot.cancelled != (seq, begun):
                    slot.cancelled = (seq, begun)
                    slot.called_at = time.monotonic_ns()
                    slot.signalled_at = 0
                    slot.page.commands.cancel(seq, begun)

    def check(self, slot: Slot, seen: PageSnapshot, now: int) -> None:
        """Look at a worker in mid-task: is it to end, is it late, does it hold up others?"""
        place = (seen.seq, seen.begun)
        if slot.cancelled == place:
            self._call_off(slot, now)
        elif seen.deadline and now >= seen.deadline:
            self._soft_timeout(slot, seen, now)
        if now - seen.started > _LONG and (seen.ended > seen.settled or seen.count > seen.begun):
            if self._tended.get(slot.pid) != place:
                self._tended[slot.pid] = place
                self._caretaker.flush(slot, seen)

    def forget(self, pid: int) -> None:
        """Forget a worker that is gone."""
        self._tended.pop(pid, None)

    def _call_off(self, slot: Slot, now: int) -> None:
        if now < slot.called_at + _GRACE:
            if now - slot.signalled_at > _SIGNAL_INTERVAL:
                slot.signalled_at = now
                self._pool.signal(slot, signal.SIGALRM)
        elif not slot.killed:
            self._kill(slot, slot.cancelled, "cancelled", "does not end its task that was called off")

    def _soft_timeout(self, slot: Slot, seen: PageSnapshot, now: int) -> None:
        place = (seen.seq, seen.begun)
        if slot.warned != place:
            slot.warned = place
            self._pool.signal(slot, signal.SIGALRM)
        elif now >= seen.deadline + _GRACE and not slot.killed:
            self._kill(slot, place, "timeout", "does not end its late task")

    def _kill(self, slot: Slot, place: tuple[int, int], why: str, text: str) -> None:
        _log.error("worker %d (pid %d) %s; it is killed", slot.number, slot.pid, text)
        slot.killed_for = place
        self._pool.signal(slot, signal.SIGKILL, why)
