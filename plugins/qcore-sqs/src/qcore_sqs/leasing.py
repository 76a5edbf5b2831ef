"""What is done with messages between their receipt and their lease."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import msgspec

from qcore.model import Delivery
from qcore_sqs import codec
from qcore_sqs.transfer import LONGEST_LEASE, Move, change, remove

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_sqs.codec import Arrival
    from qcore_sqs.purging import Purger
    from qcore_sqs.queues import Queues
    from qcore_sqs.transfer import Mover

#: seconds a message is out of sight that comes at the end of a wait, until its receiver says that
#: it has it: SQS also hands out to those who died or were told to stop while they waited
BRIEF: Final = 8
_ATTRIBUTES: Final = ["ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SentTimestamp"]


class Leaser:
    """Takes messages and makes them deliveries."""

    def __init__(self, queues: Queues, mover: Mover, purger: Purger, retry: float) -> None:
        self._queues = queues
        self._mover = mover
        self._purger = purger
        self._lasts = max(1, math.ceil(retry))
        #: bodies by id that are too large for their receipts; of the last batches only
        self._bodies: dict[str, bytes] = {}

    def take(self, limit: int, wait: int) -> list[Delivery]:
        """Return up to `limit` deliveries after one request; `wait` is in whole seconds."""
        brief = wait > 0 and self._lasts > BRIEF
        answer = self._queues.link.call(
            "receive_message",
            again=False,
            QueueUrl=self._queues.main(),
            MaxNumberOfMessages=min(limit, codec.BATCH),
            WaitTimeSeconds=wait,
            VisibilityTimeout=BRIEF if brief else self._lasts,
            MessageSystemAttributeNames=_ATTRIBUTES,
            MessageAttributeNames=[codec.ATTRIBUTE],
        )
        came = [codec.arrival(message) for message in answer.get("Messages", ())]
        if came and brief:
            missed = change(self._queues, [(one.handle, self._lasts) for one in came])
            came = [one for index, one in enumerate(came) if index not in missed]
        return [self._delivery(one) for one in self._due(came)]

    def body(self, lease: codec.Lease) -> bytes | None:
        """Return the body of a leased message, None if another process leased it and it is large."""
        return lease.body if lease.body is not None else self._bodies.get(lease.id)

    def _due(self, came: Sequence[Arrival]) -> Sequence[Arrival]:
        """Leave out what is not to be handed out now."""
        if all(one.note is codec.PLAIN for one in came):
            return came
        remove(self._queues, [one.note.instead for one in came if one.note.instead])
        came = self._purger.kept(came)
        now = time.time()
        early = [one for one in came if one.note.due > now]
        if early:
            self._put_back(early, now)
        return [one for one in came if one.note.due <= now]

    def _put_back(self, early: Sequence[Arrival], now: float) -> None:
        leases = [self._lease(one, now) for one in early]
        waits = [one.note.due - now for one in early]
        if self._queues.fifo:
            # no single message of a FIFO queue can be sent with a delay
            self._mover.show(list(zip(leases, waits, strict=True)))
            return
        moves = [
            # as if it had never been received
            Move(lease, one.body, msgspec.structs.replace(one.note, deliveries=lease.deliveries - 1), wait)
            for one, lease, wait in zip(early, leases, waits, strict=True)
        ]
        remove(self._queues, self._mover.move(moves))

    def _lease(self, one: Arrival, now: float) -> codec.Lease:
        deliveries = one.note.deliveries + one.receives
        return codec.Lease(one.handle, one.id, deliveries, one.note.failures, one.note.crashes, now, one.body)

    def _delivery(self, one: Arrival) -> Delivery:
        note = one.note
        deliveries = note.deliveries + one.receives - self._put_backs(one)
        given = codec.receipt(one, deliveries, time.time())
        if len(one.body) > codec.IN_RECEIPT:
            self._bodies.pop(one.id, None)
            self._bodies[one.id] = one.body
            while len(self._bodies) > 2 * codec.BATCH:
                del self._bodies[next(iter(self._bodies))]
        return Delivery(one.body, given, deliveries, note.failures, note.crashes)

    def _put_backs(self, one: Arrival) -> int:
        """Return how many of its receives were too early and ended in a put-back."""
        early = one.note.due - one.first
        if not self._queues.fifo or early <= 0:
            return 0
        return min(one.receives - 1, 1 + int(early / LONGEST_LEASE))
