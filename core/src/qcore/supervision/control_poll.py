"""Polls the store for queues that users pause and tasks they cancel."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendUnavailable
from qcore.journal.commands import Pause
from qcore.journal.running import Running
from qcore.messages.control import PAUSED, ControlFlags, cancel_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.coordination import CoordinationStore
    from qcore.runtime import Runtime
    from qcore.supervision.slot import Slot

_log = logging.getLogger("qcore.control")

#: Seconds a task runs before the store is asked whether it was cancelled.
_LONG: Final = 0.3


class ControlPoller:
    """Reads all control flags in one call, whatever the number of workers."""

    def __init__(self, runtime: Runtime, slots: Sequence[Slot]) -> None:
        self._flags = ControlFlags(runtime.control_sealer)
        self._slots = [(slot, Running(slot.page)) for slot in slots]
        #: whether the queue is paused
        self.paused = False
        #: runs that must end: pid of the worker, number of its batch, how many had begun. The
        #: supervisor removes them
        self.cancelled: deque[tuple[int, int, int]] = deque()
        for slot in slots:
            # Until the first poll it is unknown whether the queue is paused, so workers wait for it.
            slot.page.commands.pause(Pause.UNKNOWN)

    def poll(self, store: CoordinationStore) -> None:
        """Ask whether the queue is paused and which running tasks were cancelled.

        Raises:
            BackendUnavailable: nothing changes.

        """
        asked: dict[str, tuple[int, int, int]] = {}
        for slot, running in self._slots:
            pid = slot.pid
            seen = slot.page.snapshot()
            held = running.message(seen, _LONG) if pid else None
            if held is not None:
                asked[cancel_key(held.id)] = (pid, seen.seq, seen.begun)
        found = self._ask(store, [PAUSED, *asked])
        self._pause(paused=PAUSED in found)
        self.cancelled.extend(run for key, run in asked.items() if key in found)

    def _ask(self, store: CoordinationStore, keys: Sequence[str]) -> set[str]:
        try:
            return self._flags.genuine(store, keys)
        except BackendUnavailable:
            raise
        except Exception:
            # Workers wait for the first poll, and a store that cannot be asked must not stop them.
            self._pause(paused=self.paused)
            raise

    def _pause(self, *, paused: bool) -> None:
        if paused != self.paused:
            _log.info("the queue is %s", "paused" if paused else "resumed")
        self.paused = paused
        for slot, _ in self._slots:
            slot.page.commands.pause(Pause.YES if paused else Pause.NO)
