"""Prolongs the leases and places of what living workers hold."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError, BackendUnavailable
from qcore.journal.records import WorkerState
from qcore.messages.envelope import read_head
from qcore.supervision.backoff import Backoff
from qcore.tasks.limits import PERMIT_TTL, limit_of, release

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.journal.pages import Page
    from qcore.runtime import Runtime
    from qcore.supervision.slot import Slot

_log = logging.getLogger("qcore.caretaker")

#: Renewals happen each this part of the lease: two may be missed.
RENEWALS: Final = 3.0


class Renewal:
    """A thread with a connection of its own, for nothing else may hold a renewal up.

    The connection is made when a task has been running for long enough to need it.
    """

    def __init__(self, runtime: Runtime, slots: Sequence[Slot]) -> None:
        self._runtime = runtime
        self._slots = slots
        self._lease = runtime.config.retry
        self._broker: Broker | None = None
        self._patience = Backoff()
        self._closing = threading.Event()
        #: what the broker last complained of, empty when it answers
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="qcore-renewal", daemon=True)
        # With retry 0 nothing is leased.
        if runtime.config.renew_leases and self._lease:
            self._thread.start()

    def close(self, seconds: float) -> None:
        """Renew nothing more; wait for at most `seconds`."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)

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
            period = min(period, self._patience.next())
        except BackendError as exc:
            text = str(exc)
        except Exception as exc:  # noqa: BLE001 - logged; the next renewal is another try
            text = f"{type(exc).__name__}: {exc}"
            _log.exception("a fault of qcore's own; leases are renewed again")
        if text and text != self.trouble:
            _log.warning("leases cannot be renewed, tried again: %s", text)
        if not text:
            self._patience = Backoff()
        self.trouble = text
        return period

    def _renew(self) -> None:
        now = time.monotonic_ns()
        held = self._held(now - int(self._lease / RENEWALS / 2 * 1e9))
        if not held:
            return
        if self._broker is None:
            self._broker = self._runtime.make_broker()
        if self._broker.capabilities.extend:
            self._broker.extend([receipt for _, receipts in held for receipt in receipts], self._lease)
            for page, _ in held:
                # As of before the call: nobody knows how long the answer took.
                page.commands.renew(now)

    def _held(self, young: int) -> list[tuple[Page, list[bytes]]]:
        """Return what living workers hold since before `young`, monotonic nanoseconds."""
        found = []
        for slot in self._slots:
            seen = slot.page.snapshot()
            busy = slot.pid and seen.count > seen.settled and seen.state == WorkerState.BUSY
            left = slot.page.read(seen) if busy and seen.leased < young else None
            if left is not None:
                found.append((slot.page, [one.receipt for one in left[0][seen.settled :]]))
        return found


def keep_permits(slots: Sequence[Slot], store: Callable[[], ResultStore]) -> None:
    """Prolong the places of tasks under a limit that have been running for a while."""
    old = time.monotonic_ns() - int(PERMIT_TTL / RENEWALS / 2 * 1e9)
    for slot in slots:
        seen = slot.page.snapshot()
        if not slot.pid or seen.running < 0 or seen.started > old:
            continue
        left = slot.page.read(seen)
        if left is None:
            continue
        held = left[0][seen.running]
        limit = limit_of(read_head(held.head))
        notes = store().notes if limit is not None and limit.concurrency else None
        if limit is not None and notes is not None:
            notes.acquire(limit.place, held.id, limit.concurrency, PERMIT_TTL)
            now = slot.page.snapshot()
            if (now.seq, now.begun, now.running) != (seen.seq, seen.begun, seen.running):
                # It ended meanwhile, and may have given the place up before we took it.
                release(notes, [(limit.place, held.id)])
