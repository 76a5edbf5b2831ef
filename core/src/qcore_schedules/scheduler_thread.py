"""The supervisor's thread that fires schedules."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from datetime import UTC, datetime
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
from qcore_schedules.declared import reconcile
from qcore_schedules.firing import Firing
from qcore_schedules.messages import slot_id
from qcore_schedules.quarantine import report_schedule
from qcore_schedules.sealed import sealed
from qcore_text.wording import counted

if TYPE_CHECKING:
    from qcore.model import StoredSchedule
    from qcore.runtime import Runtime
    from qcore_calendar.schedule import Schedule
    from qcore_schedules.sealed import SealedSchedules

_log = logging.getLogger("qcore.scheduler")

#: Schedules claimed at once.
_CLAIM: Final = 100
#: Seconds a claim holds. It only saves work: a slot is fired by whoever advances its schedule.
_HOLD: Final = 10.0
#: Seconds after its slot at which a schedule is late.
_LATE: Final = 10.0
#: Seconds by which a clock may be corrected without a word.
_STEP: Final = 2.0
#: Schedules that are not to be trusted and were told of; more are forgotten.
_REFUSED: Final = 1000
#: Errors of the schedule itself, which will not pass by themselves.
_LASTING: Final = (ScheduleError, DecodeError, EncodeError, EnvelopeError, PayloadTooLarge, NotSupported)


class ClockSteps:
    """Logs when a clock is set back: a slot that was fired is not fired again."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        #: until when schedules may be silent, epoch seconds
        self._until = 0.0

    def look(self, now: float) -> None:
        """Compare a clock with one that nobody sets."""
        ahead = now - time.monotonic()
        back = 0.0 if self._ahead is None else self._ahead - ahead
        self._ahead = ahead
        if back > _STEP:
            self._until = max(self._until, now + back)
            text = "the clock was set back by %s: schedules fire nothing until it shows %s again"
            _log.warning(
                text,
                counted(float(round(back)), "second"),
                f"{datetime.fromtimestamp(self._until, UTC):%Y-%m-%d %H:%M:%S} UTC",
            )


class SchedulerThread:
    """Fires due schedules once a second, with connections of its own.

    Any number of clusters may do this for one queue: a slot belongs to whoever replaces the schedule
    by its next state. Where queue and schedules share a backend, the slot's tasks are enqueued in
    that same step. If the clock jumps nothing is fired twice, because a schedule in the store only
    has slots that were not fired.
    """

    def __init__(self, runtime: Runtime, declared: bytes = b"") -> None:
        self._runtime = runtime
        #: the schedules that the user's modules declare, until they are stored
        self._declared = declared
        self._now = runtime.clock.now
        self._firing = Firing(runtime)
        self._store: SealedSchedules | None = None
        self._reporters = runtime.reporters
        #: the bytes of schedules that are not to be trusted, by name
        self._refused: dict[str, bytes] = {}
        #: what no key opens, by name: when it was last due, monotonic seconds, and the error
        self._unopened: dict[str, tuple[float, str]] = {}
        #: schedules that were fired, and those of them that were late
        self.fired = self.fired_late = 0
        self._halted = False
        self._closing = threading.Event()
        self._steps = ClockSteps()
        #: the last error of a backend, empty when it answers
        self.last_error = ""
        self.thread = threading.Thread(target=self._run, name="qcore-scheduler", daemon=True)
        self.thread.start()

    @property
    def trouble(self) -> str:
        """The last error of a backend, or the error of a schedule that no key opens; empty without one."""
        since = time.monotonic() - 2 * _HOLD
        unopened = [text for at, text in tuple(self._unopened.values()) if at > since]
        more = f" (and {len(unopened) - 1} more)" if len(unopened) > 1 else ""
        return self.last_error or (f"{unopened[0]}{more}" if unopened else "")

    def halt(self) -> None:
        """Fire nothing more; no lock is taken, because a signal handler may call this."""
        self._halted = True

    def close(self, seconds: float) -> bool:
        """Stop the thread; return whether it ended within `seconds`."""
        self._halted = True
        self._closing.set()
        self.thread.join(seconds)
        return not self.thread.is_alive()

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        # Slots are whole seconds, so this wakes up just after one.
        while not self._closing.wait(1.0 - self._now() % 1.0):
            if self._halted:
                continue
            try:
                self._steps.look(self._now())
                self._fire_due()
            except BackendError as exc:
                if self.last_error != str(exc):
                    self.last_error = str(exc)
                    _log.warning("schedules wait until their store and the broker answer: %s", exc)
            except BaseException as exc:  # noqa: BLE001 - logged; the next second is another try
                _log.exception("an internal error of qcore; schedules are fired again in a second")
                self._reporters.failure(exc, traceback.format_exc())
            else:
                self.last_error = ""
        self._reporters.flush()
        self._firing.close()
        if self._store is not None:
            self._store.close()

    def _fire_due(self) -> None:
        if self._store is None:
            self._store = sealed(self._runtime, self._runtime.make_schedule_store(create=False))
        if self._declared:
            # This comes first, because a schedule that is not declared any more must not fire.
            reconcile(self._store, self._declared, self._now())
            self._declared = b""
        # Fired schedules are not due any more, and those that failed are still claimed.
        while not self._halted and (
            claimed := self._store.claim_due(self._now(), _CLAIM, _HOLD, self._refuse)
        ):
            for schedule in claimed:
                self._attempt(self._store, schedule)

    def _attempt(self, store: SealedSchedules, schedule: Schedule) -> None:
        """Fire a schedule; if that fails, disable it or try again later, so that the others fire."""
        try:
            late = self._now() - schedule.next_run > _LATE
            self._firing.fire(store, schedule)
            self.fired += 1
            self.fired_late += late
        except _LASTING as exc:
            self._disable(store, schedule, exc)
        except BackendError as exc:
            if isinstance(exc, BackendRejected) and self._firing.answers(schedule.cluster):
                # The broker refuses this schedule's messages, which must not hold up the others.
                self._disable(store, schedule, exc)
                return
            if not schedule.cluster:
                raise
            # The backend of another cluster must not hold up the schedules of this one.
            _log.warning("schedule %r is skipped and tried again later: %s", schedule.name, exc)
        except BaseException as exc:  # noqa: BLE001 - logged and reported; a hook must not stop the others
            _log.exception("schedule %r could not be fired; it is tried again", schedule.name)
            self._report(schedule, exc, f"{type(exc).__name__}: {exc}")

    def _refuse(self, row: StoredSchedule, error: EnvelopeError) -> None:
        """Report once a schedule that is not to be trusted."""
        if isinstance(error, UnknownKey):
            if len(self._unopened) >= _REFUSED:
                self._unopened.clear()
            self._unopened[row.name] = (time.monotonic(), str(error))
        if self._refused.get(row.name) == row.body:
            return
        if len(self._refused) >= _REFUSED:
            self._refused.clear()
        self._refused[row.name] = row.body
        # During a rolling key rotation another cluster may have the key already.
        level, end = (
            (logging.WARNING, "skipped") if isinstance(error, UnknownKey) else (logging.ERROR, "disabled")
        )
        _log.log(level, "a schedule is %s: %s", end, error)
        if not isinstance(error, UnknownKey):
            report_schedule(
                self._reporters, TaskInfo(id="", name=""), row.name, f"{type(error).__name__}: {error}"
            )

    def _disable(self, store: SealedSchedules, schedule: Schedule, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        store.advance(schedule, attrs.evolve(schedule, fault=text[:500]))
        _log.error("schedule %r is disabled until it is resumed: %s", schedule.name, text)
        self._report(schedule, error, text)

    def _report(self, schedule: Schedule, error: BaseException, text: str) -> None:
        task = TaskInfo(id=slot_id(schedule, schedule.next_run).hex(), name=schedule.task)
        report_schedule(self._reporters, task, schedule.name, text, error)
