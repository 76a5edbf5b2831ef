"""A queue for one process: tests and `sync`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.interfaces import Broker, Capabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import QueueState, Waiting
    from qcore.model import DeadLetter, Delivery, Outgoing, QueueSize, Settlement
    from qcore_queues.order import QueueOrder
    from qcore_testing.memory.queue import MemoryQueue


class MemoryBroker(Broker):
    """Hands out what is in a `MemoryQueue`; its threads see it, other processes do not."""

    def __init__(
        self,
        queue: MemoryQueue,
        *,
        retry: float,
        backend: str,
        owner: bytes = b"",
        order: QueueOrder | None = None,
    ) -> None:
        self._queue = queue
        self._owner = owner
        self._retry = retry
        self._order = order
        self.capabilities = Capabilities(
            redelivers=True,
            extend=True,
            delay=True,
            stores_counters=True,
            dead_letters=True,
            long_poll=True,
            unique_ids=True,
            cluster_status=True,
            remove_messages=True,
            queues=True,
            cross_process=False,
            transaction_domain=backend,
        )

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept messages; they die with this process."""
        self._queue.put(messages)

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Hand out up to `limit` messages, waiting up to `wait` seconds for the first."""
        order = None if self._order is None else self._order.next()
        return self._queue.take(limit, wait, self._retry, self._owner, order)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases."""
        self._queue.settle(settlements)

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Make leases last `seconds` from now."""
        self._queue.extend(receipts, seconds)

    def size(self) -> QueueSize:
        """Count the messages by state."""
        return self._queue.size()

    def peek(self) -> bytes | None:
        """Return the body of the message that is leased next."""
        return self._queue.peek()

    def purge(self) -> int:
        """Remove every message that is not leased or dead-lettered."""
        return self._queue.purge()

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """List dead letters, oldest first."""
        return self._queue.dead_letters(limit, after)

    def requeue(self, ids: Sequence[str]) -> int:
        """Make dead letters ready again."""
        return self._queue.requeue(ids)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters for good."""
        return self._queue.forget(ids)

    def ping(self) -> None:
        """Return: memory always answers."""

    def info(self) -> str:
        """Say what it is."""
        return "memory of this process"

    def close(self) -> None:
        """Leave the queue as it is, for its other brokers."""

    def release_owner(self, owner: bytes) -> int:
        """Release every lease taken by brokers of this owner."""
        return self._queue.release_owner(owner)

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Remove messages that are not leased."""
        return self._queue.remove_messages(ids)

    def find_messages(self, ids: Sequence[bytes]) -> Sequence[bytes] | None:
        """Find messages in any state."""
        return self._queue.find_messages(ids)

    def queues(self) -> Sequence[QueueState]:
        """Return the queues that have messages or are paused."""
        return self._queue.queues()

    def pause_queue(self, queue: str, *, paused: bool) -> None:
        """Have no messages of a queue leased, or have them leased again."""
        self._queue.pause(queue, paused=paused)

    def is_queue_paused(self, queue: str) -> bool:
        """Tell whether a queue is paused."""
        return self._queue.is_paused(queue)

    def purge_queue(self, queue: str) -> int:
        """Remove the messages of a queue that are not leased."""
        return self._queue.purge(queue)

    def move_queue(self, source: str, target: str) -> int:
        """Put the messages of a queue that are not leased into another."""
        return self._queue.move(source, target)

    def waiting(self, limit: int, queue: str | None = None) -> Sequence[Waiting] | None:
        """Return messages that are not leased, those that are leased first in front."""
        return self._queue.waiting(limit, queue)

    def publish_status(self, cluster: str, body: bytes, ttl: float) -> None:
        """Keep sealed bytes about a cluster for `ttl` seconds."""
        self._queue.publish(cluster, body, ttl)

    def statuses(self) -> Sequence[bytes]:
        """Return what is published and not expired."""
        return self._queue.statuses()
