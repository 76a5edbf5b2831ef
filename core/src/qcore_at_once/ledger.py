"""Gathers what has ended until it is settled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qcore.flows.completion import Completion
    from qcore.model import Delivery
    from qcore.workers.leased import LeasedMessage
    from qcore_at_once.cell_runs import CellRun
    from qcore_at_once.home import Home
    from qcore_at_once.shared_batch import SharedBatch

#: Seconds that an end waits for others to be settled with it.
_GATHER: Final = 0.002


class Ledger:
    """Gathers ends for a few milliseconds."""

    def __init__(self, batch: SharedBatch, home: Home) -> None:
        self._batch = batch
        self._home = home
        #: what is to be written, the runs it is of, and since when there is some, monotonic seconds
        self._finished: list[Completion | LeasedMessage] = []
        self._ended: list[CellRun] = []
        self._since = 0.0

    def write(self, done: Completion | LeasedMessage, one: CellRun) -> None:
        """Take in what is to be written of a message."""
        self._since = self._since if self._finished else time.monotonic()
        self._finished.append(done)
        self._ended.append(one)

    def release(self, some: Iterable[CellRun]) -> None:
        """Release messages that have not begun."""
        released = list(some)
        self._batch.release([one.message for one in released])
        self._ended += released

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be written."""
        return not self._ended and not self._batch.has_unrun

    @property
    def is_due(self) -> bool:
        """Whether it has waited for long enough."""
        return not self.is_empty and self.left <= 0

    @property
    def left(self) -> float:
        """For how many seconds more it waits for others."""
        return self._since + _GATHER - time.monotonic()

    def settle(self, limit: int) -> tuple[Sequence[Delivery], list[CellRun]]:
        """Make all of it durable and lease; return what was leased, and the runs whose cells are free."""
        finished, ended = self._finished, self._ended
        messages = [one.message for one in ended]
        deliveries = self._home.until_answered(self._batch.settle_finished, finished, messages, limit)
        self._finished, self._ended = [], []
        return deliveries, ended
