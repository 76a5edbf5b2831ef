"""Polls the store for queues that users pause and tasks they cancel."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendUnavailable
from qcore.journal.commands import Pause
from qcore.journal.running import Running
from qcore_cells.cells import CellState
from qcore_queues.flags import PAUSED, ControlFlags, cancel_key
from qcore_queues.names import named
from qcore_queues.pausing import PAUSED_QUEUES, paused_names

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
        #: the queues that are, at a broker that pauses none itself
        self._left_out: frozenset[str] = frozenset()
        #: runs that must end: pid of the worker, number of its batch, how many had begun. The
        #: supervisor removes them
        self.cancelled: deque[tuple[int, int, int]] = deque()
        #: those that run at once with others: pid of the worker, cell, number of its use
        self.cancelled_cells: deque[tuple[int, int, int]] = deque()
        #: the ids of such tasks, by worker and use
        self._ids: dict[tuple[int, int], bytes] = {}
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
        cells = self._cells()
        found = self._ask(store, [PAUSED, PAUSED_QUEUES, *asked, *cells])
        self._leave_out(paused_names(found.get(PAUSED_QUEUES)))
        self._pause(paused=PAUSED in found)
        self.cancelled_cells.extend(run for key, run in cells.items() if key in found)
        self.cancelled.extend(run for key, run in asked.items() if key in found)

    def _cells(self) -> dict[str, tuple[int, int, int]]:
        """Return those that run at once with others, and have for a while, by the key of their flag."""
        asked, ids = {}, {}
        young = time.monotonic_ns() - int(_LONG * 1e9)
        for slot, _ in self._slots:
            pid, cells = slot.pid, slot.page.cells
            for one in cells.in_use() if pid else ():
                if one.state != CellState.RUNNING or one.started > young:
                    continue
                key = slot.number, one.use
                held = None if key in self._ids else cells.message(one)
                id_ = self._ids.get(key) if held is None else held.id
                if id_ is not None:
                    ids[key] = id_
                    asked[cancel_key(id_)] = (pid, one.at, one.use)
        self._ids = ids
        return asked

    def _ask(self, store: CoordinationStore, keys: Sequence[str]) -> dict[str, bytes]:
        try:
            return self._flags.genuine(store, keys)
        except BackendUnavailable:
            raise
        except Exception:
            # Workers wait for the first poll, and a store that cannot be asked must not stop them.
            self._pause(paused=self.paused)
            raise

    def _leave_out(self, names: frozenset[str]) -> None:
        for name in sorted(names ^ self._left_out):
            _log.info("the queue %s is %s", named(name), "paused" if name in names else "resumed")
        if names != self._left_out:
            self._left_out = names
            for slot, _ in self._slots:
                slot.page.commands.left_out.write(names)

    def _pause(self, *, paused: bool) -> None:
        if paused != self.paused:
            _log.info("the queue is %s", "paused" if paused else "resumed")
        self.paused = paused
        for slot, _ in self._slots:
            slot.page.commands.pause(Pause.YES if paused else Pause.NO)
