"""Extends the leases and permits of living workers."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError, BackendUnavailable
from qcore.journal.records import WorkerState
from qcore.messages.head import read_head
from qcore.tasks.limits import PERMIT_TTL, limit_of, release
from qcore_cells.cells import CellState
from qcore_process import stop_guard
from qcore_process.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker
    from qcore.journal.pages import Page
    from qcore.runtime import Runtime
    from qcore.supervision.slot import Slot

_log = logging.getLogger("qcore.maintenance")

#: Renewals per lease: two may be missed.
RENEWALS: Final = 3.0
#: Seconds before the broker is asked again after a failure: the shortest and the longest wait.
_BACKOFF: Final = (0.1, 5.0)
#: Seconds that its thread is given to end, even if others have taken all the time there was.
_LEAST: Final = 0.5


class Renewal:
    """A thread with a connection of its own, because nothing else may hold up a renewal.

    The connection is opened when a task has been running for long enough to need it.
    """

    def __init__(self, runtime: Runtime, slots: Sequence[Slot]) -> None:
        self._runtime = runtime
        self._slots = slots
        self._lease = runtime.config.retry
        self._broker: Broker | None = None
        self._backoff = Backoff(*_BACKOFF)
        self._closing = threading.Event()
        #: leases that were extended, and calls for it that failed
        self.extended = self.failed = 0
        #: the last error of the broker, empty when it answers
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name="qcore-renewal", daemon=True)
        # With retry 0 there are no leases.
        if runtime.config.renew_leases and self._lease:
            self._thread.start()

    def close(self, seconds: float) -> None:
        """Stop renewing; wait for the thread at most `seconds`."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(max(seconds, _LEAST))
            if self._thread.is_alive():
                stop_guard.log_stack("leases are still being renewed", self._thread)

    def _run(self) -> None:
        wait = self._lease / RENEWALS
        while not self._closing.wait(wait):
            wait = self._attempt()
        if self._broker is not None:
            self._broker.close()

    def _attempt(self) -> float:
        """Renew; return the seconds until the next time."""
        period = self._lease / RENEWALS
        text = ""
        try:
            self._renew()
        except BackendUnavailable as exc:
            text = str(exc)
            period = min(period, self._backoff.next())
        except BackendError as exc:
            text = str(exc)
        except Exception as exc:  # noqa: BLE001 - logged; the next renewal is another try
            text = f"{type(exc).__name__}: {exc}"
            _log.exception("an internal error of qcore; leases are renewed again")
        self.failed += bool(text)
        if text and text != self.last_error:
            _log.warning("leases cannot be renewed; tried again: %s", text)
        if not text:
            self._backoff.reset()
        self.last_error = text
        return period

    def _renew(self) -> None:
        now = time.monotonic_ns()
        held = self._held(now - int(self._lease / RENEWALS / 2 * 1e9))
        if not held:
            return
        if self._broker is None:
            self._broker = self._runtime.make_broker(create=False)
        if self._broker.capabilities.extend:
            receipts = [one for _, some, _ in held for one in some]
            self._broker.extend(receipts, self._lease)
            self.extended += len(receipts)
            for page, _, cells in held:
                # The time before the call, because it is unknown how long the answer took.
                for index in cells:
                    page.cells.renew(index, now)
                if not cells:
                    page.commands.renew(now)

    def _held(self, young: int) -> list[tuple[Page, list[bytes], list[int]]]:
        """Return the receipts that living workers have held since before `young`, and in which cells.

        The time is in monotonic nanoseconds; without cells they are those of a batch.
        """
        found: list[tuple[Page, list[bytes], list[int]]] = []
        for slot in self._slots:
            seen = slot.page.snapshot()
            busy = slot.pid and seen.count > seen.settled and seen.state == WorkerState.BUSY
            left = slot.page.read(seen) if busy and seen.leased < young else None
            if left is not None:
                found.append((slot.page, [one.receipt for one in left[0][seen.settled :]], []))
            if slot.pid and (cells := _held_in_cells(slot, young)):
                found.append((slot.page, list(cells.values()), list(cells)))
        return found


def _held_in_cells(slot: Slot, young: int) -> dict[int, bytes]:
    """Return the receipts that a worker has held in cells since before `young`."""
    cells = slot.page.cells
    old = [one for one in cells.in_use() if one.leased < young]
    return {one.at: held.receipt for one in old if (held := cells.message(one)) is not None}


def keep_permits(slots: Sequence[Slot], store: Callable[[], CoordinationStore]) -> None:
    """Extend the permits of tasks under a limit that have been running for a while."""
    old = time.monotonic_ns() - int(PERMIT_TTL / RENEWALS / 2 * 1e9)
    for slot in slots:
        if slot.pid:
            _keep_permits_of_cells(slot, store, old)
        seen = slot.page.snapshot()
        if not slot.pid or seen.running < 0 or seen.started > old:
            continue
        left = slot.page.read(seen)
        if left is None:
            continue
        held = left[0][seen.running]
        limit = limit_of(read_head(held.head))
        if limit is not None and limit.concurrency:
            store().acquire(limit.permit_key, held.id, limit.concurrency, PERMIT_TTL)
            now = slot.page.snapshot()
            if (now.position, now.running) != (seen.position, seen.running):
                # The task ended meanwhile, and may have released its permit before it was extended.
                release(store(), [(limit.permit_key, held.id)])


def _keep_permits_of_cells(slot: Slot, store: Callable[[], CoordinationStore], old: int) -> None:
    cells = slot.page.cells
    for one in cells.in_use():
        held = cells.message(one) if one.state == CellState.RUNNING and one.started < old else None
        limit = limit_of(read_head(held.head)) if held else None
        if held is None or limit is None or not limit.concurrency:
            continue
        store().acquire(limit.permit_key, held.id, limit.concurrency, PERMIT_TTL)
        if not any(now.use == one.use and now.state == CellState.RUNNING for now in cells.in_use()):
            # The task ended meanwhile, and may have released its permit before it was extended.
            release(store(), [(limit.permit_key, held.id)])
