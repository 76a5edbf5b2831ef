"""The supervisor's thread that calls the broker and the stores."""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.begun import keep_sign
from qcore.errors import BackendError, BackendUnavailable, QueueMissing
from qcore.messages.sealer import STATUS
from qcore.settings.options import PER
from qcore.supervision.control_poll import ControlPoller
from qcore.supervision.orphans import Orphans
from qcore.supervision.recovery import Recovery
from qcore.supervision.relay import Relay
from qcore.supervision.renewal import RENEWALS, Renewal, keep_permits
from qcore.supervision.unsigned import dead_letter_bounds
from qcore.tasks.limits import PERMIT_TTL
from qcore_process.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ResultStore
    from qcore.journal.records import PageSnapshot
    from qcore.runtime import Runtime
    from qcore.status import ClusterStatus
    from qcore.supervision.slot import Slot, WorkerExit
    from qcore_process.memory import Memory

_log = logging.getLogger("qcore.maintenance")

#: A published status is renewed at least this often, seconds, and forgotten after three times that.
_PUBLISH: Final = 5.0
#: Seconds between two polls of the control flags.
_POLL: Final = 1.0
#: Seconds between two looks for tasks that may run only once, of clusters that died.
_ORPHANS: Final = 30.0
#: Seconds between two looks for dead letters that are too many.
_BOUNDS: Final = 30.0


#: Seconds before a backend is asked again after a failure: the shortest and the longest wait.
_BACKOFF: Final = (0.1, 5.0)


#: Seconds after which a queue that is not there any more is given up; it may be restored before.
_MISSING: Final = 10.0


class _PeriodicJob:
    """A call that is made again and again, whatever other jobs wait."""

    def __init__(self, name: str, do: Callable[[], object], period: float, due: float) -> None:
        self.name = name
        self.do = do
        self.period = period
        #: monotonic seconds
        self.due = due
        self.backoff = Backoff(*_BACKOFF)


class Maintenance:
    """Makes all calls of the supervisor that may wait for a network, in a thread.

    Jobs are done in order, each until the backend answers. Periodic jobs and publishing do not wait
    for them. Renewals wait for nothing at all, because they have a thread of their own.
    """

    def __init__(self, runtime: Runtime, slots: Sequence[Slot], memory: Memory) -> None:
        self._runtime = runtime
        self._slots = slots
        self._memory = memory
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue()
        #: the newest status that is not published yet
        self._statuses: deque[ClusterStatus] = deque(maxlen=1)
        #: the job in hand, and when it is tried again, monotonic seconds
        self._job: Callable[[], None] | None = None
        self._retry_at = 0.0
        self._backoff = Backoff(*_BACKOFF)
        self._broker: Broker | None = None
        self._store: ResultStore | None = None
        self._coordination: CoordinationStore | None = None
        #: calls of this thread that failed
        self._failed = 0
        self._recovery = Recovery(runtime, self._connect)
        #: tasks that ended without a worker
        self.tallies = self._recovery.tallies
        self.control = ControlPoller(runtime, slots)
        self._closing = threading.Event()
        self._orphans = Orphans(runtime, self._recovery)
        self._bounds = dead_letter_bounds(runtime.config, runtime.envelope.key_ids)
        self._pruned_at = (-1, "")
        now = time.monotonic()
        self._periodic = (
            _PeriodicJob("permits", self._keep_permits, PERMIT_TTL / RENEWALS, now + PERMIT_TTL / RENEWALS),
            _PeriodicJob("control", lambda: self.control.poll(self._get_coordination()), _POLL, now),
            _PeriodicJob("orphans", self._end_orphans, _ORPHANS, now + _POLL),
            _PeriodicJob("bounds", lambda: self._bounds.prune(self._get_broker()), _BOUNDS, now + _BOUNDS),
        )
        self._renewal = Renewal(runtime, slots)
        self._relay = Relay(runtime)
        #: the last error of each kind of job; every key is there from the start, because the
        #: supervisor reads them meanwhile
        self._errors = dict.fromkeys(["job", "publish", *(job.name for job in self._periodic)], "")
        #: since when each kind of job has found no queue, monotonic seconds, 0 = it has found one
        self._missing = dict.fromkeys(self._errors, 0.0)
        self.thread = threading.Thread(target=self._run, name="qcore-maintenance", daemon=True)
        self.thread.start()

    # -- asked by the supervisor, from its own thread -------------------------------------------

    @property
    def last_error(self) -> str:
        """The errors of backends, empty when all answer."""
        errors = [*self._errors.values(), self._renewal.last_error, self._relay.last_error]
        return "; ".join(dict.fromkeys(filter(None, errors)))

    @property
    def lost(self) -> str:
        """Why the queue is given up, empty if it is there or may still be restored."""
        since = [one for one in self._missing.values() if one]
        return self.last_error if since and time.monotonic() - min(since) > _MISSING else ""

    @property
    def backend_errors(self) -> int:
        """How many calls of a backend failed."""
        return self._failed + self._renewal.failed

    @property
    def renewals(self) -> int:
        """How many leases were extended."""
        return self._renewal.extended

    def recover(self, gone: WorkerExit) -> None:
        """Settle the messages of a dead worker."""
        self._jobs.put(lambda: self._recovery.recover(gone))

    def flush(self, slot: Slot, seen: PageSnapshot) -> None:
        """Settle what a worker busy with a long task has finished; release what it has not begun."""
        page, pid = slot.page, slot.pid
        page.limit_batch(seen.seq, seen.begun)
        self._jobs.put(lambda: self._recovery.flush(page, pid, slot, seen))

    def publish(self, status: ClusterStatus) -> None:
        """Publish a status; remove successes beyond `save_limit`, if any may have been stored since the last.

        Tasks that have finished are stored with their batch: only an idle or stopped cluster has stored all.
        """
        self._statuses.append(status)
        self._jobs.put(lambda: None)
        if (status.finished, status.state) != self._pruned_at:
            self._pruned_at = (status.finished, status.state)
            self._jobs.put(self._prune)

    def close(self, seconds: float) -> bool:
        """Finish all jobs within at most `seconds`; return whether all were done."""
        self._closing.set()
        self._jobs.put(lambda: None)
        end = time.monotonic() + seconds
        self.thread.join(seconds)
        self._renewal.close(max(0.0, end - time.monotonic()))
        self._relay.close(max(0.0, end - time.monotonic()))
        return not self.thread.is_alive()

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while self._job is not None or not (self._closing.is_set() and self._jobs.empty()):
            self._wait()
            if self._statuses:
                # A status that cannot be published is dropped, because the next is newer.
                self._attempt("publish", lambda: self._publish(self._statuses.pop()))
            for job in self._periodic:
                if time.monotonic() >= job.due and not self._closing.is_set():
                    self._run_periodic(job)
            if self._job is not None and (time.monotonic() >= self._retry_at or self._closing.is_set()):
                self._work(self._job)
        self._recovery.close()
        for connection in (self._broker, self._store, self._coordination):
            if connection is not None:
                connection.close()

    def _wait(self) -> None:
        """Wait for the next job, the next try of this one, or the next periodic job."""
        periodic = min(job.due for job in self._periodic)
        if self._job is not None:
            self._closing.wait(max(0.0, min(periodic, self._retry_at) - time.monotonic()))
            return
        try:
            self._job = self._jobs.get(timeout=max(0.0, periodic - time.monotonic()))
        except queue.Empty:
            return
        self._retry_at = 0.0
        self._backoff.reset()

    def _run_periodic(self, job: _PeriodicJob) -> None:
        if self._attempt(job.name, job.do):
            job.backoff.reset()
            job.due = time.monotonic() + job.period
        else:
            job.due = time.monotonic() + min(job.period, job.backoff.next())

    def _work(self, job: Callable[[], None]) -> None:
        if self._attempt("job", job):
            self._job = None
        elif self._closing.is_set() and self._backoff.seconds > 1:
            # The process ends, and then the leases expire by themselves.
            self._job = None
            self._backoff.reset()
        else:
            self._retry_at = time.monotonic() + self._backoff.next()

    def _attempt(self, name: str, do: Callable[[], object]) -> bool:
        """Make a call; return False if a backend does not answer."""
        text = ""
        answers, missing = True, 0.0
        try:
            do()
        except BackendUnavailable as exc:
            text, answers = str(exc), False
            self._failed += 1
            missing = (self._missing[name] or time.monotonic()) if isinstance(exc, QueueMissing) else 0.0
            if text not in self._errors.values():
                _log.warning("a backend does not answer and is asked again: %s", exc)
        except BackendError as exc:
            text = str(exc)
            self._failed += 1
            if self._errors.get(name) != text or name == "job":
                _log.error("a job of the supervisor is given up: %s", exc)
                self._runtime.reporters.failure(exc, traceback.format_exc())
        except Exception as exc:  # noqa: BLE001 - logged; supervision goes on whatever one job meets
            text = f"{type(exc).__name__}: {exc}"
            if self._errors.get(name) != text or name == "job":
                _log.exception("an internal error of qcore; the supervisor continues")
                self._runtime.reporters.failure(exc, traceback.format_exc())
        self._errors[name] = text
        self._missing[name] = missing
        return answers

    def _connect(self) -> tuple[Broker, ResultStore]:
        return self._get_broker(), self._get_store()

    def _get_broker(self) -> Broker:
        if self._broker is None:
            self._broker = self._runtime.make_broker(create=False)
        return self._broker

    def _get_store(self) -> ResultStore:
        if self._store is None:
            self._store = self._runtime.make_store(create=False)
        return self._store

    def _get_coordination(self) -> CoordinationStore:
        if self._coordination is None:
            runtime = self._runtime
            # By the connection of the results if they are in the same place: both are this thread's.
            same = runtime.coordination_store == runtime.result_store
            beside = self._get_store() if same else None
            self._coordination = runtime.make_coordination_store(beside, create=False)
        return self._coordination

    # -- the jobs -------------------------------------------------------------------------------

    def _keep_permits(self) -> None:
        if self._owner:
            keep_sign(self._runtime, self._get_coordination(), self._owner)
        keep_permits(self._slots, self._get_coordination)

    def _end_orphans(self) -> None:
        self._orphans.end(self._get_store(), self._get_coordination(), self._owner)

    @property
    def _owner(self) -> bytes:
        """The owner of one of its workers, empty before the first is started."""
        return next((slot.owner for slot in self._slots if slot.owner), b"")

    def _publish(self, status: ClusterStatus) -> None:
        broker = self._get_broker()
        if not broker.capabilities.cluster_status:
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
        self._get_store().prune(limit if limit > 0 else -1, PER[per] if per else None)
        self._get_coordination().prune()
