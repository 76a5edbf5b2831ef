"""The supervisor's thread that speaks to broker and store, and its patience."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.errors import BackendError, BackendUnavailable
from qcore.messages.sealer import STATUS
from qcore.settings.options import PER
from qcore.supervision.backoff import Backoff
from qcore.supervision.control_poll import ControlPoller
from qcore.supervision.recovery import Recovery
from qcore.supervision.renewal import RENEWALS, Renewal, keep_permits
from qcore.tasks.limits import PERMIT_TTL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker, ResultStore
    from qcore.journal.records import PageSnapshot
    from qcore.runtime import Runtime
    from qcore.status import ClusterStatus
    from qcore.supervision.memory import Memory
    from qcore.supervision.slot import Slot, WorkerExit

_log = logging.getLogger("qcore.caretaker")

#: A published status is renewed at least this often, seconds, and forgotten after three times that.
_PUBLISH: Final = 5.0
#: Seconds between looks at what users say of the queue and its tasks.
_LOOK: Final = 1.0


class _PeriodicJob:
    """What is done again and again, whatever else has to wait."""

    def __init__(self, name: str, do: Callable[[], None], period: float, due: float) -> None:
        self.name = name
        self.do = do
        self.period = period
        #: monotonic seconds
        self.due = due
        self.patience = Backoff()


class Maintenance:
    """Does everything of the supervisor's that may wait for a network, in a thread.

    Jobs are done in their order, each until the backend answers. Chores and publishing do not
    wait for them. Renewals wait for nothing at all: they have a thread of their own.
    """

    def __init__(self, runtime: Runtime, slots: Sequence[Slot], memory: Memory) -> None:
        self._runtime = runtime
        self._slots = slots
        self._memory = memory
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue()
        #: the newest status that is not published yet
        self._statuses: deque[ClusterStatus] = deque(maxlen=1)
        #: what is being done, and when it is tried again
        self._job: Callable[[], None] | None = None
        self._again = 0.0
        self._patience = Backoff()
        self._broker: Broker | None = None
        self._store: ResultStore | None = None
        self._rescuer = Recovery(runtime, self._connect)
        self.lookout = ControlPoller(runtime, slots)
        self._closing = threading.Event()
        self._pruned_at = -1
        now = time.monotonic()
        self._chores = (
            _PeriodicJob("places", self._keep_places, PERMIT_TTL / RENEWALS, now + PERMIT_TTL / RENEWALS),
            _PeriodicJob("look", lambda: self.lookout.look(self._the_store()), _LOOK, now),
        )
        self._renewal = Renewal(runtime, slots)
        #: what a backend last complained of, by what was tried; every key is there from the start,
        #: for the supervisor reads them meanwhile
        self._troubles = dict.fromkeys(["job", "publish", *(chore.name for chore in self._chores)], "")
        self._thread = threading.Thread(target=self._run, name="qcore-caretaker", daemon=True)
        self._thread.start()

    # -- asked by the supervisor, from its own thread -------------------------------------------

    @property
    def trouble(self) -> str:
        """What backends complain of, empty when all answer."""
        told = [*self._troubles.values(), self._renewal.trouble]
        return "; ".join(dict.fromkeys(filter(None, told)))

    def recover(self, gone: WorkerExit) -> None:
        """Settle what a dead worker held."""
        self._jobs.put(lambda: self._rescuer.recover(gone))

    def flush(self, slot: Slot, seen: PageSnapshot) -> None:
        """Settle what a worker busy with a long task has finished; give back what it has not begun."""
        page, pid = slot.page, slot.pid
        page.limit_batch(seen.seq, seen.begun)
        self._jobs.put(lambda: self._rescuer.flush(page, pid, slot, seen))

    def publish(self, status: ClusterStatus) -> None:
        """Publish what the supervisor sees."""
        self._statuses.append(status)
        self._jobs.put(lambda: None)

    def prune(self, finished: int) -> None:
        """Keep the number of stored successes within save_limit, if any came since the last time."""
        if finished != self._pruned_at:
            self._pruned_at = finished
            self._jobs.put(self._prune)

    def close(self, seconds: float) -> bool:
        """Finish what was asked, for at most `seconds`; return whether all of it was done."""
        self._closing.set()
        self._jobs.put(lambda: None)
        end = time.monotonic() + seconds
        self._thread.join(seconds)
        self._renewal.close(max(0.0, end - time.monotonic()))
        return not self._thread.is_alive()

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while self._job is not None or not (self._closing.is_set() and self._jobs.empty()):
            self._wait()
            if self._statuses:
                # One that cannot be published is not kept: the next is newer.
                self._attempt("publish", lambda: self._publish(self._statuses.pop()))
            for chore in self._chores:
                if time.monotonic() >= chore.due and not self._closing.is_set():
                    self._keep(chore)
            if self._job is not None and (time.monotonic() >= self._again or self._closing.is_set()):
                self._work(self._job)
        self._rescuer.close()
        for connection in (self._broker, self._store):
            if connection is not None:
                connection.close()

    def _wait(self) -> None:
        """Wait for the next job, the next try of this one, or the next chore."""
        chore = min(chore.due for chore in self._chores)
        if self._job is not None:
            self._closing.wait(max(0.0, min(chore, self._again) - time.monotonic()))
            return
        try:
            self._job = self._jobs.get(timeout=max(0.0, chore - time.monotonic()))
        except queue.Empty:
            return
        self._again = 0.0
        self._patience = Backoff()

    def _keep(self, chore: _PeriodicJob) -> None:
        if self._attempt(chore.name, chore.do):
            chore.patience = Backoff()
            chore.due = time.monotonic() + chore.period
        else:
            chore.due = time.monotonic() + min(chore.period, chore.patience.next())

    def _work(self, job: Callable[[], None]) -> None:
        if self._attempt("job", job):
            self._job = None
        elif self._closing.is_set() and self._patience.seconds > 1:
            # At the end of the process its leases run out by themselves.
            self._job = None
            self._patience = Backoff()
        else:
            self._again = time.monotonic() + self._patience.next()

    def _attempt(self, name: str, do: Callable[[], None]) -> bool:
        """Try something; return False if a backend does not answer."""
        text = ""
        answers = True
        try:
            do()
        except BackendUnavailable as exc:
            text, answers = str(exc), False
            if self._troubles.get(name) != text:
                _log.warning("a backend does not answer and is asked again: %s", exc)
        except BackendError as exc:
            text = str(exc)
            if self._troubles.get(name) != text or name == "job":
                _log.error("given up: %s", exc)
        except Exception as exc:  # noqa: BLE001 - logged; supervision goes on whatever one job meets
            text = f"{type(exc).__name__}: {exc}"
            if self._troubles.get(name) != text or name == "job":
                _log.exception("a fault of qcore's own; the supervisor goes on")
        self._troubles[name] = text
        return answers

    def _connect(self) -> tuple[Broker, ResultStore]:
        return self._the_broker(), self._the_store()

    def _the_broker(self) -> Broker:
        if self._broker is None:
            self._broker = self._runtime.make_broker()
        return self._broker

    def _the_store(self) -> ResultStore:
        if self._store is None:
            self._store = self._runtime.make_store()
        return self._store

    # -- the jobs -------------------------------------------------------------------------------

    def _keep_places(self) -> None:
        keep_permits(self._slots, self._the_store)

    def _publish(self, status: ClusterStatus) -> None:
        broker = self._the_broker()
        if not broker.capabilities.status:
            return
        body = b""
        if status.state != "stopped":
            self._memory.measure([one.pid for one in status.workers])
            status = self._memory.attach(status)
            body = self._runtime.status_sealer.seal(STATUS, msgspec.json.encode(status))
        broker.publish_status(status.id, body, _PUBLISH * 3)

    def _prune(self) -> None:
        config = self._runtime.config
        limit, per = config.save_limit, config.save_limit_per
        self._the_store().prune(limit if limit > 0 else -1, PER[per] if per else None)
