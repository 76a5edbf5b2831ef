"""`App.queue`: how many messages there are, pausing and purging."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.messages.control import PAUSE_TTL, PAUSED, ControlFlags

if TYPE_CHECKING:
    from qcore.model import QueueSize
    from qcore.tasks.task import Producer


class Queue:
    """One queue as a whole."""

    def __init__(self, app: Producer) -> None:
        self._app = app

    def size(self) -> QueueSize:
        """Return how many messages are ready, leased, delayed and dead letters."""
        with self._app.runtime.brokers.connection() as broker:
            return broker.size()

    def purge(self) -> int:
        """Remove every message that is ready or delayed; return how many they were.

        Running tasks, results and dead letters stay.
        """
        with self._app.runtime.brokers.connection() as broker:
            return broker.purge()

    def pause(self) -> None:
        """Have all clusters of the queue take no new tasks, from within two seconds on.

        Workers finish the tasks they hold. The queue stays paused until it is resumed, even if
        clusters are restarted; tasks are enqueued and schedules fire as before.
        """
        runtime = self._app.runtime
        with runtime.coordination_stores.connection() as store:
            flag = ControlFlags(runtime.control_sealer).sign(PAUSED)
            store.set_flag(PAUSED, flag, PAUSE_TTL)

    def resume(self) -> None:
        """Have clusters take tasks again, from within two seconds on."""
        with self._app.runtime.coordination_stores.connection() as store:
            store.set_flag(PAUSED, b"", 0.0)

    def is_paused(self) -> bool:
        """Return whether the queue is paused."""
        runtime = self._app.runtime
        with runtime.coordination_stores.connection() as store:
            found = store.get_flags([PAUSED])[0]
        return ControlFlags(runtime.control_sealer).verify(PAUSED, found)
