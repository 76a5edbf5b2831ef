"""Which slots of a schedule are fired, and how."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from qcore.destination import destination
from qcore.errors import BackendError
from qcore_calendar.slots import CatchUp, count_dropped, due_slots
from qcore_schedules.messages import OpenedSchedule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ResultStore
    from qcore.model import Outgoing
    from qcore.runtime import Runtime
    from qcore_calendar.schedule import Schedule
    from qcore_schedules.sealed import SealedSchedules

_log = logging.getLogger("qcore.scheduler")

#: Most slots of one schedule fired in one step.
_SLOTS: Final = 1000
#: Permits of a schedule, for the task that runs and those that wait, by its `overlap`.
_PERMITS: Final = {"skip": 1, "queue": 2}
#: Seconds after which a permit expires that was not released, because its task is taken for dead:
#: longer than a task runs that has no timeout. A task with a timeout is given the time of all its
#: attempts, if that is longer.
_PERMIT_TTL: Final = 86400.0
#: Seconds after which the size of a queue includes a slot's task; some brokers only estimate it.
_SIZE_DELAY: Final = 120.0
#: Seconds within which no other cluster can have fired what this one has claimed.
_CLAIMED: Final = 5.0


class Outlet:
    """The connections to a cluster's queue that tasks of schedules are enqueued on."""

    def __init__(self, runtime: Runtime, *, create: bool) -> None:
        self.runtime = runtime
        self._create = create
        self.broker: Broker = runtime.make_broker(create=create)
        self._stores: tuple[ResultStore, CoordinationStore] | None = None

    def stores(self) -> tuple[ResultStore, CoordinationStore]:
        """Return the result store of the tasks and their coordination store."""
        if self._stores is None:
            store = self.runtime.make_store(create=self._create)
            coordination = self.runtime.make_coordination_store(beside=store, create=self._create)
            self._stores = store, coordination
        return self._stores

    def close(self) -> None:
        """Close the connections."""
        self.broker.close()
        for store in self._stores or ():
            store.close()


class Firing:
    """Fires the schedules of one cluster, each for the cluster it names."""

    def __init__(self, runtime: Runtime, clock: Callable[[], float] | None = None) -> None:
        self._runtime = runtime
        #: epoch seconds
        self._clock = clock or runtime.clock.now
        self._outlets: dict[str, Outlet] = {}
        config = runtime.config
        self._catch_up = CatchUp(
            each=config.catch_up, limit=config.catch_up_limit, window=config.catch_up_window
        )

    def fire(self, store: SealedSchedules, schedule: Schedule) -> None:
        """Enqueue the tasks of a claimed schedule's due slots, and store its next slot.

        Raises:
            BackendError: a backend does not answer, or refuses.
            QcoreError: the schedule cannot be fired.

        """
        began = time.monotonic()
        there = self._outlet(schedule.cluster)
        most = min(_SLOTS, there.broker.capabilities.max_batch)
        slots, after = due_slots(schedule, self._clock(), self._catch_up, most)
        if lost := count_dropped(schedule, slots):
            _log.warning("schedule %r: missed slots that are not caught up: %s", schedule.name, lost)
        opened = OpenedSchedule(self._runtime, schedule)
        permits: list[tuple[str, bytes]] = []
        if schedule.overlap == "allow":
            made = [opened.slot_message(slot) for slot in slots]
            messages = [one for one in made if one is not None]
        else:
            messages = self._permitted(schedule, opened, slots, there, permits)
        # In one step the messages would be enqueued for the schedule's own cluster.
        own = there.runtime is self._runtime
        if store.fire(there.broker, messages, schedule, after, one_step=own):
            _log.debug("schedule %r fired, %d of %d slots", schedule.name, len(messages), len(slots))
        elif permits and time.monotonic() - began < _CLAIMED:
            # The schedule was edited just now, so these slots were not fired. After a longer time
            # another cluster may have fired them, and then its tasks hold these permits.
            there.stores()[1].release(permits)

    def answers(self, cluster: str) -> bool:
        """Return whether the broker of a cluster answers at all."""
        try:
            self._outlet(cluster).broker.size()
        except BackendError:
            return False
        return True

    def close(self) -> None:
        """Close all connections."""
        while self._outlets:
            self._outlets.popitem()[1].close()

    def _outlet(self, cluster: str) -> Outlet:
        found = self._outlets.get(cluster)
        if found is None:
            there = destination(self._runtime, cluster)
            # That of another cluster may be the first that anybody enqueues there.
            found = self._outlets[cluster] = Outlet(there, create=there is not self._runtime)
        return found

    def _permitted(
        self,
        schedule: Schedule,
        opened: OpenedSchedule,
        slots: Sequence[float],
        there: Outlet,
        permits: list[tuple[str, bytes]],
    ) -> list[Outgoing]:
        """Return the messages of the slots that get a permit; add the permits they hold to `permits`."""
        store, coordination = there.stores()
        key, limit, seconds = (
            opened.permit_key,
            _PERMITS[schedule.overlap],
            self._permit_ttl(schedule, opened),
        )
        messages = []
        for slot in slots:
            message = opened.slot_message(slot)
            if message is None:
                continue
            # A slot whose permit was acquired by a process that died before firing it keeps the permit.
            first = coordination.acquire(key, message.id, limit, seconds)
            ours = (key, first) in permits
            if first is not None and not ours and (_ended(store, first) or self._purged(there, first)):
                # Its worker died before it released the permit, or the task was purged unrun.
                coordination.release([(key, first)])
                first = coordination.acquire(key, message.id, limit, seconds)
            if first is not None:
                left = len(slots) - slots.index(slot)
                text = "schedule %r: slots skipped because task %s has not ended: %d"
                _log.info(text, schedule.name, first.hex(), left)
                break
            permits.append((key, message.id))
            messages.append(message)
        return messages

    def _purged(self, there: Outlet, id: bytes) -> bool:
        """Return whether a slot's task cannot be in the queue any more, because the queue is empty."""
        if self._clock() - int.from_bytes(id[:6], "big") / 1000 < _SIZE_DELAY:
            return False
        size = there.broker.size()
        return (size.ready, size.leased, size.delayed) == (0, 0, 0)

    def _permit_ttl(self, schedule: Schedule, opened: OpenedSchedule) -> float:
        """Return the seconds after which a permit expires that is not released."""
        head, config = opened.head, self._runtime.config
        timeout = config.timeout if head.timeout is None else head.timeout
        attempts = head.max_attempts or config.max_attempts or 1
        wait = config.retry if head.max_delay is None else head.max_delay
        longest = max(_PERMIT_TTL, attempts * ((timeout or 0.0) + wait))
        return longest + opened.body.delay + schedule.jitter


def _ended(store: ResultStore, id: bytes) -> bool:
    (found,) = store.get([id])
    return found is not None and found.state.final
