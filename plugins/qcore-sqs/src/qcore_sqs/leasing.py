"""Decides which received messages are leased."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.errors import BackendRejected
from qcore.model import Delivery
from qcore_sqs import codec
from qcore_sqs.transfer import MAX_LEASE, Move, change, remove

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_sqs.codec import Received
    from qcore_sqs.purging import Purger
    from qcore_sqs.queues import Queues
    from qcore_sqs.transfer import Mover

_log = logging.getLogger("qcore_sqs.leasing")

#: seconds of the first lease of a message that ends a wait, until its receiver confirms it: SQS also
#: delivers to a receiver that has died or stopped while it waited
PROVISIONAL: Final = 8
_ATTRIBUTES: Final = ["ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SentTimestamp"]


class Leaser:
    """Receives messages and turns them into deliveries."""

    def __init__(self, queues: Queues, mover: Mover, purger: Purger, retry: float) -> None:
        self._queues = queues
        self._mover = mover
        self._purger = purger
        self._lease_seconds = max(1, math.ceil(retry))
        #: id -> body that is too large for its receipt, of the last two batches
        self._bodies: dict[str, bytes] = {}

    def take(self, limit: int, wait: int) -> list[Delivery]:
        """Return up to `limit` deliveries after one request that waits up to `wait` seconds."""
        provisional = wait > 0 and self._lease_seconds > PROVISIONAL
        answer = self._queues.connection.call(
            "receive_message",
            repeatable=False,
            QueueUrl=self._queues.main(),
            MaxNumberOfMessages=min(limit, codec.BATCH),
            WaitTimeSeconds=wait,
            VisibilityTimeout=PROVISIONAL if provisional else self._lease_seconds,
            MessageSystemAttributeNames=_ATTRIBUTES,
            MessageAttributeNames=[codec.ATTRIBUTE],
        )
        received = [codec.read_message(message) for message in answer.get("Messages", ())]
        if received and provisional:
            missed = change(self._queues, [(one.handle, self._lease_seconds) for one in received])
            received = [one for index, one in enumerate(received) if index not in missed]
        return [self._delivery(one) for one in self._due(received)]

    def body(self, lease: codec.Lease) -> bytes | None:
        """Return the body of a leased message, None if it is large and another process leased it."""
        return lease.body if lease.body is not None else self._bodies.get(lease.id)

    def _due(self, received: Sequence[Received]) -> Sequence[Received]:
        """Return the messages that may be leased now; handle the others."""
        if all(one.metadata is codec.PLAIN for one in received):
            return received
        try:
            remove(self._queues, [one.metadata.replaces for one in received if one.metadata.replaces])
        except BackendRejected as exc:
            # whoever may send to the queue may name anything
            _log.warning("a message that another replaces cannot be removed: %s", exc)
        received = self._purger.kept(received)
        now = time.time()
        early = [one for one in received if one.metadata.due > now]
        if early:
            self._make_visible(early, now)
        return [one for one in received if one.metadata.due <= now]

    def _make_visible(self, early: Sequence[Received], now: float) -> None:
        leases = [self._lease(one, now) for one in early]
        waits = [one.metadata.due - now for one in early]
        if self._queues.fifo:
            # a FIFO queue cannot delay a single message
            self._mover.show(list(zip(leases, waits, strict=True)))
            return
        moves = [
            # with the counters it had before it was received
            Move(
                lease, one.body, msgspec.structs.replace(one.metadata, deliveries=lease.deliveries - 1), wait
            )
            for one, lease, wait in zip(early, leases, waits, strict=True)
        ]
        remove(self._queues, self._mover.move(moves))

    def _lease(self, one: Received, now: float) -> codec.Lease:
        deliveries = one.metadata.deliveries + one.receives
        return codec.Lease(
            one.handle, one.id, deliveries, one.metadata.failures, one.metadata.crashes, now, one.body
        )

    def _delivery(self, one: Received) -> Delivery:
        metadata = one.metadata
        deliveries = metadata.deliveries + one.receives - self._early_receives(one)
        given = codec.receipt(one, deliveries, time.time())
        if len(one.body) > codec.IN_RECEIPT:
            self._bodies.pop(one.id, None)
            self._bodies[one.id] = one.body
            while len(self._bodies) > 2 * codec.BATCH:
                del self._bodies[next(iter(self._bodies))]
        return Delivery(one.body, given, deliveries, metadata.failures, metadata.crashes)

    def _early_receives(self, one: Received) -> int:
        """Return how many of its receives were too early, after which it was made visible again."""
        early = one.metadata.due - one.first
        if not self._queues.fifo or early <= 0:
            return 0
        return min(one.receives - 1, 1 + int(early / MAX_LEASE))
