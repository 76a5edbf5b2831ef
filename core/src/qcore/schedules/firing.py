"""Which slots of a schedule are enqueued, and how."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError, NotSupported
from qcore.interfaces import ScheduleStore
from qcore.messages.envelope import read_head
from qcore.model import State
from qcore.schedules.messages import destination, open_body, permit_key_of, slot_message
from qcore.schedules.slots import CatchUp, dropped, due

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ResultStore
    from qcore.model import Outgoing, Schedule
    from qcore.runtime import Runtime

_log = logging.getLogger("qcore.timekeeper")

#: Most slots of one schedule made up for in one step.
_SLOTS: Final = 1000
#: Tasks of a schedule at a time, the one that runs and those that wait, by its `overlap`.
_PLACES: Final = {"skip": 1, "queue": 2}
#: Seconds after which a place nobody gave up is taken for a dead one's: longer than a task runs
#: that nobody stops. What has a timeout is given all its attempts, if that is longer.
_DEAD: Final = 86400.0
#: Seconds after which it is seen in the size of a queue that a slot's task is there; some brokers
#: only estimate it.
_SURE: Final = 120.0
#: Seconds within which nobody else can have fired what we have claimed.
_OURS: Final = 5.0


class Outlet:
    """Connections to a queue that tasks of schedules are put on."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.broker: Broker = runtime.make_broker()
        self._store: ResultStore | None = None

    def store(self) -> tuple[ResultStore, CoordinationStore]:
        """Return the store of their results, and its notes.

        Raises:
            NotSupported: it keeps none.

        """
        if self._store is None:
            self._store = self.runtime.make_store()
        notes = self._store.notes
        if notes is None:
            msg = "overlap= needs a result store that keeps notes; use sqlite or redis, or overlap='allow'"
            raise NotSupported(msg)
        return self._store, notes

    def close(self) -> None:
        """Let go of them."""
        self.broker.close()
        if self._store is not None:
            self._store.close()


class Firing:
    """Fires schedules of one queue, onto whichever queue they say."""

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.time) -> None:
        self._runtime = runtime
        #: epoch seconds
        self._clock = clock
        self._outlets: dict[str, Outlet] = {}
        config = runtime.config
        self._catch_up = CatchUp(
            each=config.catch_up, limit=config.catch_up_limit, window=config.catch_up_window
        )

    def fire(self, kept: ScheduleStore, schedule: Schedule) -> None:
        """Enqueue what a claimed schedule's slots ask for, and move it on.

        Raises:
            BackendError: a backend does not answer, or refuses.
            QcoreError: what the schedule says cannot be done.

        """
        began = time.monotonic()
        there = self._outlet(schedule.cluster)
        most = min(_SLOTS, there.broker.capabilities.bulk)
        slots, after = due(schedule, self._clock(), self._catch_up, most)
        if lost := dropped(schedule, slots):
            _log.warning("schedule %r: %s slots that were missed are not made up for", schedule.name, lost)
        places: list[tuple[str, bytes]] = []
        if schedule.overlap == "allow":
            made = [slot_message(self._runtime, schedule, slot) for slot in slots]
            messages = [one for one in made if one is not None]
        else:
            messages = self._granted(schedule, slots, there, places)
        if self._put(kept, there, messages, schedule, after):
            _log.debug("schedule %r fired, %d of %d slots", schedule.name, len(messages), len(slots))
        elif places and time.monotonic() - began < _OURS:
            # It was edited in this instant: these slots are nobody's. Later it may as well have been
            # fired by another, whose tasks hold their places rightly.
            there.store()[1].release(places)

    def answers(self, cluster: str) -> bool:
        """Return whether the queue that tasks are put on lets us in at all."""
        try:
            self._outlet(cluster).broker.size()
        except BackendError:
            return False
        return True

    def close(self) -> None:
        """Let go of everything."""
        while self._outlets:
            self._outlets.popitem()[1].close()

    def _outlet(self, cluster: str) -> Outlet:
        found = self._outlets.get(cluster)
        if found is None:
            found = self._outlets[cluster] = Outlet(destination(self._runtime, cluster))
        return found

    def _put(
        self,
        kept: ScheduleStore,
        there: Outlet,
        messages: Sequence[Outgoing],
        schedule: Schedule,
        after: Schedule | None,
    ) -> bool:
        if there.runtime is self._runtime:
            return kept.fire(there.broker, messages, schedule, after)
        # One step would put them on the schedule's own queue.
        return ScheduleStore.fire(kept, there.broker, messages, schedule, after)

    def _granted(
        self, schedule: Schedule, slots: Sequence[float], there: Outlet, places: list[tuple[str, bytes]]
    ) -> list[Outgoing]:
        """Return the messages of the slots that are given a place; they hold it from now on."""
        store, notes = there.store()
        key, limit, seconds = (
            permit_key_of(self._runtime, schedule),
            _PLACES[schedule.overlap],
            self._hold(schedule),
        )
        messages = []
        for slot in slots:
            message = slot_message(self._runtime, schedule, slot)
            if message is None:
                continue
            # A slot that was given its place by one who died before it was fired keeps it.
            first = notes.acquire(key, message.id, limit, seconds)
            ours = (key, first) in places
            if first is not None and not ours and (_ended(store, first) or self._purged(there, first)):
                # Its worker died between the end and giving the place up, or it never came to one.
                notes.release([(key, first)])
                first = notes.acquire(key, message.id, limit, seconds)
            if first is not None:
                left = len(slots) - slots.index(slot)
                text = "schedule %r: %d slots are passed over, task %s has not ended"
                _log.info(text, schedule.name, left, first.hex())
                break
            places.append((key, message.id))
            messages.append(message)
        return messages

    def _purged(self, there: Outlet, id: bytes) -> bool:
        """Return whether a slot's task cannot be in the queue any more, for there is none."""
        if self._clock() - int.from_bytes(id[:6], "big") / 1000 < _SURE:
            return False
        size = there.broker.size()
        return (size.ready, size.leased, size.delayed) == (0, 0, 0)

    def _hold(self, schedule: Schedule) -> float:
        """Return the seconds after which a place is taken for a dead one's."""
        body = open_body(self._runtime, schedule)
        head, config = read_head(body.head), self._runtime.config
        timeout = config.timeout if head.timeout is None else head.timeout
        attempts = head.max_attempts or config.max_attempts or 1
        wait = config.retry if head.max_delay is None else head.max_delay
        return max(_DEAD, attempts * ((timeout or 0.0) + wait)) + body.delay + schedule.jitter


def _ended(store: ResultStore, id: bytes) -> bool:
    (found,) = store.get([id])
    return found is not None and found.state is not State.RETRYING
