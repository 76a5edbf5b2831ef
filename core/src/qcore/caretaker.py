"""The supervisor's thread that speaks to the broker: rescue, renewal, status."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.errors import BackendError, BackendUnavailable
from qcore.journal import WorkerState
from qcore.rescue import Rescuer
from qcore.sealer import STATUS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.journal import Snapshot
    from qcore.runtime import Runtime
    from qcore.slot import Gone, Slot
    from qcore.status import ClusterStatus

_log = logging.getLogger("qcore.caretaker")

#: Seconds before the broker is asked again after a failure: from, to, doubling with jitter.
_PATIENCE: Final = (0.1, 5.0)
#: A published status is renewed at least this often, seconds, and forgotten after three times that.
_PUBLISH: Final = 5.0
#: Renewals happen each this part of the lease: two may be missed.
_RENEWALS: Final = 3.0


class Caretaker:
    """Does everything of the supervisor's that may wait for a network, in one thread."""

    def __init__(self, runtime: Runtime, slots: Sequence[Slot]) -> None:
        self._runtime = runtime
        self._slots = slots
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue()
        self._broker: Broker | None = None
        self._store: ResultStore | None = None
        self._rescuer = Rescuer(runtime, self._connect)
        self._closing = threading.Event()
        self._renewed = time.monotonic()
        self._pruned_at = -1
        #: what the broker last complained of, empty when it answers
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="qcore-caretaker", daemon=True)
        self._thread.start()

    # -- asked by the supervisor, from its own thread -------------------------------------------

    def rescue(self, gone: Gone) -> None:
        """Settle what a dead worker held."""
        self._jobs.put(lambda: self._rescuer.rescue(gone))

    def tend(self, slot: Slot, seen: Snapshot) -> None:
        """Settle what a worker busy with a long task has finished; give back what it has not begun."""
        page, pid = slot.page, slot.pid
        page.limit(seen.seq, seen.begun)
        self._jobs.put(lambda: self._rescuer.tend(page, pid, slot, seen))

    def publish(self, status: ClusterStatus) -> None:
        """Publish what the supervisor sees."""
        self._jobs.put(lambda: self._publish(status))

    def prune(self, finished: int) -> None:
        """Keep the number of stored successes within save_limit, if any came since the last time."""
        if finished != self._pruned_at:
            self._pruned_at = finished
            self._jobs.put(self._prune)

    def close(self, seconds: float) -> bool:
        """Finish what was asked, for at most `seconds`; return whether all of it was done."""
        self._closing.set()
        self._jobs.put(lambda: None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        period = self._runtime.config.retry / _RENEWALS
        while not (self._closing.is_set() and self._jobs.empty()):
            wait = max(0.0, self._renewed + period - time.monotonic())
            try:
                job: Callable[[], None] | None = self._jobs.get(timeout=wait)
            except queue.Empty:
                job = None
            if time.monotonic() - self._renewed >= period:
                self._renewed = time.monotonic()
                self._patiently(self._renew)
            if job is not None:
                self._patiently(job)
        self._rescuer.close()
        for connection in (self._broker, self._store):
            if connection is not None:
                connection.close()

    def _patiently(self, job: Callable[[], None]) -> None:
        """Do a job, again and again while the broker does not answer."""
        patience = _PATIENCE[0]
        while True:
            try:
                job()
            except BackendUnavailable as exc:
                self.trouble = str(exc)
                _log.warning("the broker does not answer, next try in %.2g s: %s", patience, exc)
                if self._closing.wait(patience * (0.5 + random.random() / 2)) and patience > 1:  # noqa: S311 - jitter
                    # At the end of the process its leases run out by themselves.
                    return
                patience = min(patience * 2, _PATIENCE[1])
            except BackendError as exc:
                self.trouble = str(exc)
                _log.error("given up: %s", exc)
                return
            except Exception:  # noqa: BLE001 - logged; supervision goes on whatever one job meets
                _log.exception("a fault of qcore's own; the supervisor goes on")
                return
            else:
                self.trouble = ""
                return

    def _connect(self) -> tuple[Broker, ResultStore]:
        if self._broker is None:
            self._broker = self._runtime.make_broker()
        if self._store is None:
            self._store = self._runtime.make_store()
        return self._broker, self._store

    # -- the jobs -------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Prolong the leases of everything that living workers hold."""
        config = self._runtime.config
        if not config.renew:
            return
        broker, _ = self._connect()
        if not broker.capabilities.extend:
            return
        young = time.monotonic_ns() - int(config.retry / _RENEWALS / 2 * 1e9)
        receipts: list[bytes] = []
        for slot in self._slots:
            seen = slot.page.look()
            if (
                slot.pid
                and seen.count > seen.settled
                and seen.leased < young
                and seen.state == WorkerState.BUSY
            ):
                left = slot.page.read(seen)
                if left is not None:
                    receipts += [one.receipt for one in left[0][seen.settled :]]
        if receipts:
            broker.extend(receipts, config.retry)

    def _publish(self, status: ClusterStatus) -> None:
        broker, _ = self._connect()
        if not broker.capabilities.status:
            return
        body = b""
        if status.state != "stopped":
            body = self._runtime.status_sealer.seal(STATUS, msgspec.json.encode(status))
        broker.publish_status(status.id, body, _PUBLISH * 3)

    def _prune(self) -> None:
        limit = self._runtime.config.save_limit
        _, store = self._connect()
        store.prune(limit if limit > 0 else -1)
