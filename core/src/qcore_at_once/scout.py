"""Waits at an empty queue while the tasks of this worker run."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError
from qcore_process.backoff import Backoff
from qcore_reports.log_limit import LogLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker
    from qcore.model import Delivery

_log = logging.getLogger("qcore.worker")

#: Seconds of one wait.
_WAIT: Final = 1.0
#: Seconds before the broker is asked again after a failure: the shortest and the longest wait.
_BACKOFF: Final = (0.05, 5.0)
#: Seconds in which one failure is logged once.
_PERIOD: Final = 60.0


class Scout:
    """A thread with a connection of its own, because nothing can interrupt a wait without losing messages."""

    def __init__(self, connect: Callable[[], Broker], found: Callable[[Sequence[Delivery]], None]) -> None:
        self._connect = connect
        #: gets what was leased, perhaps nothing, in this thread
        self._found = found
        #: it waits, or has found something that was not taken yet
        self.out = False
        self._broker: Broker | None = None
        self._backoff = Backoff(*_BACKOFF)
        self._lines = LogLimit(_log, _PERIOD)
        self._asked: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="qcore-scout", daemon=True)
        self._thread.start()

    def send(self) -> None:
        """Have it wait for one message; not while it is out."""
        self.out = True
        self._asked.put(_WAIT)

    def close(self) -> None:
        """End the thread once it is back."""
        self._closing.set()
        self._asked.put(0.0)
        self._thread.join(2 * _WAIT)

    def _run(self) -> None:
        while wait := self._asked.get():
            self._found(self._lease(wait))
        if self._broker is not None:
            self._broker.close()

    def _lease(self, wait: float) -> Sequence[Delivery]:
        try:
            if self._broker is None:
                self._broker = self._connect()
            deliveries = self._broker.lease(1, wait)
        except BackendError as exc:
            self._lines.write(logging.WARNING, str(exc), f"the queue cannot be watched for messages: {exc}")
            self._closing.wait(min(self._backoff.next(), _WAIT))
            return ()
        self._backoff.reset()
        return deliveries
