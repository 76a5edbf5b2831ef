"""The supervisor's thread that fires schedules, apart from all that guards workers."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

import attrs

from qcore.errors import (
    BackendError,
    BackendRejected,
    DecodeError,
    EncodeError,
    EnvelopeError,
    NotSupported,
    PayloadTooLarge,
    ScheduleError,
    UnknownKey,
)
from qcore.model import TaskInfo
from qcore.schedules.declared import reconcile
from qcore.schedules.firing import Firing
from qcore.schedules.messages import slot_id

if TYPE_CHECKING:
    from qcore.interfaces import ScheduleStore
    from qcore.model import Schedule
    from qcore.runtime import Runtime

_log = logging.getLogger("qcore.timekeeper")

#: Schedules claimed at once.
_CLAIM: Final = 100
#: Seconds a claim holds. Only a courtesy: a slot is fired by whoever advances its schedule.
_HOLD: Final = 10.0
#: What is wrong with the schedule itself, and will be tomorrow.
_BROKEN: Final = (ScheduleError, DecodeError, EncodeError, EnvelopeError, PayloadTooLarge, NotSupported)


class SchedulerThread:
    """Fires what is due, once a second, in a thread with connections of its own.

    Any number of clusters may do so for one queue: a slot belongs to whoever replaces its
    schedule by the next state, and where queue and schedules share a backend its tasks are
    enqueued in that same step. A clock that jumps fires nothing twice, for a slot that was
    fired is no longer kept.
    """

    def __init__(self, runtime: Runtime, declared: bytes = b"") -> None:
        self._runtime = runtime
        #: what the user's modules declare, until it is kept
        self._declared = declared
        self._firing = Firing(runtime)
        self._store: ScheduleStore | None = None
        self._reporters = runtime.reporters()
        self._halted = False
        self._closing = threading.Event()
        #: what a backend last complained of, empty when it answers
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="qcore-timekeeper", daemon=True)
        self._thread.start()

    def halt(self) -> None:
        """Fire nothing more; no lock is taken, for a signal handler may ask."""
        self._halted = True

    def close(self, seconds: float) -> bool:
        """Let go of everything; return whether the thread ended within `seconds`."""
        self._halted = True
        self._closing.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        # Slots are whole seconds: the time to look is just behind one.
        while not self._closing.wait(1.0 - time.time() % 1.0):
            if self._halted:
                continue
            try:
                self._look()
            except BackendError as exc:
                if self.trouble != str(exc):
                    self.trouble = str(exc)
                    _log.warning("schedules rest until their store and the broker answer: %s", exc)
            except Exception:  # noqa: BLE001 - logged; the next second is another try
                _log.exception("a fault of qcore's own; schedules are looked at again")
            else:
                self.trouble = ""
        self._reporters.flush()
        self._firing.close()
        if self._store is not None:
            self._store.close()

    def _look(self) -> None:
        if self._store is None:
            self._store = self._runtime.make_schedule_store()
        if self._declared:
            # Before anything is fired: what is declared no more must not be.
            reconcile(self._store, self._declared, time.time())
            self._declared = b""
        claimed = self._store.claim_due(time.time(), _CLAIM, _HOLD)
        while claimed and not self._halted:
            for schedule in claimed:
                self._attempt(self._store, schedule)
            # What was caught up with is not due any more; what failed is held.
            claimed = self._store.claim_due(time.time(), _CLAIM, _HOLD)

    def _attempt(self, store: ScheduleStore, schedule: Schedule) -> None:
        """Fire a schedule; one that cannot be fired is marked or passed over, and the others go on."""
        try:
            self._firing.fire(store, schedule)
        except UnknownKey as exc:
            # Another cluster of a rolling rotation may have it already.
            _log.warning("schedule %r is passed over: %s", schedule.name, exc)
        except _BROKEN as exc:
            self._mark(store, schedule, exc)
        except BackendError as exc:
            if isinstance(exc, BackendRejected) and self._firing.answers(schedule.cluster):
                # What it refuses is this schedule's, and would hold up the others for ever.
                self._mark(store, schedule, exc)
                return
            if not schedule.cluster:
                raise
            # Another queue's backend need not hold up what goes to ours.
            _log.warning("schedule %r is passed over and tried again: %s", schedule.name, exc)
        except Exception as exc:  # noqa: BLE001 - logged and reported; a hook must not stop the others
            _log.exception("schedule %r could not be fired; it is tried again", schedule.name)
            self._report(schedule, exc, f"{type(exc).__name__}: {exc}")

    def _mark(self, store: ScheduleStore, schedule: Schedule, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        store.advance(schedule, attrs.evolve(schedule, fault=text[:500]))
        _log.error("schedule %r is broken and rests until it is resumed: %s", schedule.name, text)
        self._report(schedule, error, text)

    def _report(self, schedule: Schedule, error: Exception, text: str) -> None:
        task = TaskInfo(id=slot_id(schedule, schedule.next_run).hex(), name=schedule.task)
        self._reporters.report(task, error, f"schedule {schedule.name!r}: {text}")
