"""`App.queue`: how many messages there are, pausing and purging."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

import attrs

from qcore.errors import QcoreError, QueueMissing
from qcore.messages.head import read_head
from qcore.scheduling import scheduler_if_any
from qcore_queues.flags import PAUSE_TTL, PAUSED, ControlFlags
from qcore_queues.pausing import paused_by_flag, set_paused
from qcore_queues.view import broker_name, queue_infos, waiting_tasks
from qcore_text.wording import counted

if TYPE_CHECKING:
    from qcore.interfaces import ResultStore
    from qcore.model import QueueSize
    from qcore.runtime import Runtime
    from qcore.tasks.task import Producer
    from qcore_queues.view import QueueInfo, WaitingTask

#: Results deleted at once.
_PAGE: Final = 1000


@attrs.frozen(kw_only=True)
class Cleared:
    """What `Queue.clear` has removed, and what it could not."""

    #: messages of every state, dead letters included
    messages: int
    results: int
    schedules: int
    #: leased messages that the broker could not remove: they are delivered again; None = not known
    left: int | None
    #: locks, limits, flags and barriers are removed too, and do not have to expire
    coordination: bool


class Queue:
    """The queue of a name as a whole, and the queues that are its parts.

    A call that names none of them is for all messages of the name. One that names a queue raises
    `NotSupported` where the broker has one queue, and `ValueError` for what no queue can be called.
    """

    def __init__(self, app: Producer) -> None:
        self._app = app

    def size(self) -> QueueSize:
        """Return how many messages are ready, leased, delayed and dead letters."""
        with self._app.runtime.brokers.connection() as broker:
            return broker.size()

    def list(self) -> list[QueueInfo]:
        """Return the queues that have messages or are paused, and `default`, by name."""
        runtime = self._app.runtime
        with runtime.brokers.connection() as broker:
            return queue_infos(runtime, broker)

    def move(self, source: str, target: str) -> int:
        """Put what is ready or delayed in one queue into another one; return how many they were."""
        with self._app.runtime.brokers.connection() as broker:
            return broker.move_queue(broker_name(broker, source), broker_name(broker, target))

    def purge(self, queue: str | None = None) -> int:
        """Remove every message that is ready or delayed; return how many they were.

        Running tasks, results and dead letters stay. A schedule with `overlap` whose task is
        removed fires its next slot; where one queue was named, once the permit of that task has expired.
        """
        runtime = self._app.runtime
        scheduler = scheduler_if_any(runtime.plugins)
        with runtime.brokers.connection() as broker:
            if queue is not None:
                return broker.purge_queue(broker_name(broker, queue))
            return broker.purge() if scheduler is None else scheduler.purge(runtime, broker)

    def clear(self) -> Cleared:
        """Remove everything: messages of every state, results, schedules, locks, limits and flags.

        It needs no key, so that it is the way out where the key was lost.

        Raises:
            QcoreError: clusters work on the queue.
            QueueMissing: there is no queue.

        """
        runtime = self._app.runtime
        with runtime.brokers.connection() as broker:
            if clusters := len(broker.statuses()):
                msg = (
                    f"{counted(clusters, 'cluster')} on the queue {runtime.config.name!r} published a status "
                    "within the last 15 seconds; stop what works on it, then try again"
                )
                raise QcoreError(msg)
            messages = broker.clear()
            left = broker.size().leased
        results, schedules, coordination = _clear_stores(runtime)
        return Cleared(
            messages=messages, results=results, schedules=schedules, left=left, coordination=coordination
        )

    def pause(self, queue: str | None = None) -> None:
        """Have all clusters of the queue take no new tasks, from within two seconds on.

        One that is named is paused at once, if the broker can do that itself. Workers finish the tasks
        they hold. The queue stays paused until it is resumed, even if clusters are restarted; tasks are
        enqueued and schedules fire as before.
        """
        runtime = self._app.runtime
        if queue is not None:
            self._pause_one(queue, paused=True)
            return
        with runtime.coordination_stores.connection() as store:
            flag = ControlFlags(runtime.control_sealer).sign(PAUSED)
            store.set_flag(PAUSED, flag, PAUSE_TTL)

    def resume(self, queue: str | None = None) -> None:
        """Have clusters take tasks again, as soon as `pause` has them take none."""
        if queue is not None:
            self._pause_one(queue, paused=False)
            return
        with self._app.runtime.coordination_stores.connection() as store:
            store.set_flag(PAUSED, b"", 0.0)

    def is_paused(self, queue: str | None = None) -> bool:
        """Return whether the queue is paused: all of it, or one that is named."""
        runtime = self._app.runtime
        if queue is not None:
            with runtime.brokers.connection() as broker:
                name = broker_name(broker, queue)
                return broker.is_queue_paused(name) or name in paused_by_flag(runtime, broker)
        with runtime.coordination_stores.connection() as store:
            return bool(ControlFlags(runtime.control_sealer).genuine(store, [PAUSED]))

    def _pause_one(self, queue: str, *, paused: bool) -> None:
        with self._app.runtime.brokers.connection() as broker:
            set_paused(self._app.runtime, broker, broker_name(broker, queue), paused=paused)


class HasWaiting:
    """What an `App` has of waiting tasks."""

    def waiting(
        self: Producer, limit: int = 50, *, queue: str | None = None, arguments: bool = False
    ) -> list[WaitingTask]:
        """Return tasks that no worker holds, those that begin first in front.

        Args:
            limit: how many at most.
            queue: of this one alone; None = of all.
            arguments: decode them, too.

        Raises:
            NotSupported: the broker cannot look, or has one queue and another is asked for.
        """
        with self.runtime.brokers.connection() as broker:
            return waiting_tasks(
                self.runtime, broker, read_head, limit=limit, queue=queue, arguments=arguments
            )


def _clear_stores(runtime: Runtime) -> tuple[int, int, bool]:
    """Remove results, schedules and shared state; one that is in a file that nobody has made is empty."""
    results, schedules, coordination = 0, 0, True
    with suppress(QueueMissing), runtime.stores.connection() as result_store:
        results = _delete_all(result_store)
    # Names are not sealed, and the keys may be lost.
    with suppress(QueueMissing), closing(runtime.make_schedule_store(create=False)) as schedule_store:
        schedules = sum(schedule_store.remove(one.name) for one in schedule_store.all())
    with suppress(QueueMissing), runtime.coordination_stores.connection() as coordination_store:
        coordination = coordination_store.clear()
    return results, schedules, coordination


def _delete_all(store: ResultStore) -> int:
    deleted = 0
    while page := store.recent(limit=_PAGE):
        if not (gone := store.delete([one.id for one in page])):
            break
        deleted += gone
    return deleted
