"""Watches for what users say of a queue: paused, called off."""

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

    from qcore.interfaces import ResultStore
    from qcore.runtime import Runtime
    from qcore.supervision.slot import Slot

_log = logging.getLogger("qcore.lookout")

#: Seconds a task runs before anybody asks whether it is called off.
_LONG: Final = 0.3


class ControlPoller:
    """Asks the store once a second, in one call, whatever the number of workers."""

    def __init__(self, runtime: Runtime, slots: Sequence[Slot]) -> None:
        self._marks = ControlFlags(runtime.control_sealer)
        self._slots = [(slot, Running(slot.page)) for slot in slots]
        #: whether the queue is paused
        self.paused = False
        #: what is to end: pid of the worker, number of its batch, how many had begun. The
        #: supervisor takes them out
        self.cancelled: deque[tuple[int, int, int]] = deque()
        for slot in slots:
            # Until the first look nobody knows; a queue that is paused is not begun to be worked on.
            slot.page.commands.pause(Pause.UNKNOWN)

    def look(self, store: ResultStore) -> None:
        """Ask whether the queue is paused and which of the tasks that run are called off.

        Raises:
            BackendUnavailable: all stays as it was.

        """
        asked: dict[str, tuple[int, int, int]] = {}
        for slot, running in self._slots:
            pid = slot.pid
            seen = slot.page.snapshot()
            held = running.message(seen, _LONG) if pid else None
            if held is not None:
                asked[cancel_key(held.id)] = (pid, seen.seq, seen.begun)
        found = self._ask(store, [PAUSED, *asked])
        self._pause(paused=self._marks.holds(PAUSED, found[0]))
        for (key, place), value in zip(asked.items(), found[1:], strict=True):
            if self._marks.holds(key, value):
                self.cancelled.append(place)

    def _ask(self, store: ResultStore, keys: Sequence[str]) -> Sequence[bytes | None]:
        if store.notes is None:
            return [None] * len(keys)
        try:
            return store.notes.get_flags(keys)
        except BackendUnavailable:
            raise
        except Exception:
            # Workers wait for the first look: a store that cannot be asked must not stop them.
            self._pause(paused=self.paused)
            raise

    def _pause(self, *, paused: bool) -> None:
        if paused != self.paused:
            _log.info("the queue is %s", "paused" if paused else "resumed")
        self.paused = paused
        for slot, _ in self._slots:
            slot.page.commands.pause(Pause.YES if paused else Pause.NO)
