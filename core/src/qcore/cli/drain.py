"""Moves messages from one broker to another, unchanged, at least once."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError, PayloadTooLarge, QcoreError
from qcore.messages.envelope import route_of_body
from qcore.model import ID_AT, Outgoing
from qcore.settle import ACKNOWLEDGE, RELEASE, redeliver

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore.interfaces import Broker
    from qcore.model import Delivery

_log = logging.getLogger("qcore.move")

#: Most messages in flight: they are on both sides if this process dies between the two writes.
_MOST: Final = 200
#: Bytes in flight.
_BYTES: Final = 4 << 20
#: How often a queue must say that it is empty; a service of many machines says so too early.
_EMPTY_LEASES: Final = 3
#: Seconds of one such lease.
_EMPTY_WAIT: Final = 1.0


class Mover:
    """Drains one queue into another of the same name.

    A message is on the target before it leaves the source, so a move that dies loses nothing and can
    be started again. A message that is on the target and was not removed from the source comes back
    from the source when its lease ends. It is then removed from a target that can do that, unless a
    worker has leased it there, and enqueued again. So messages are moved at least once.
    """

    def __init__(self, source: Broker, target: Broker) -> None:
        self._source = source
        self._target = target
        #: a target that has one queue takes all messages in the order in which they are leased
        self._route = route_of_body if target.capabilities.queues else lambda _: ("", 0)
        self._limit = min(_MOST, source.capabilities.max_batch, target.capabilities.max_batch)
        self._largest = target.capabilities.max_bytes
        #: bodies and receipts of messages that the target refuses, leased until the end
        self._refused: dict[bytes, bytes] = {}
        #: why the first of them was refused
        self.refusal = ""
        #: ids of the first batch, and how often one of them was delivered as if it were new
        self._first: frozenset[bytes] = frozenset()
        self._seen_again = 0

    @property
    def refused(self) -> int:
        """How many messages the target refused; they stay on the source."""
        return len(self._refused)

    def run(self) -> Iterator[int]:
        """Move ready messages until there are none; yield the size of each batch that was moved.

        Raises:
            BackendUnavailable: one of the two does not answer; start again when it does.
            QcoreError: source and target are the same queue.

        """
        empty = 0
        batches: list[Sequence[Delivery]] = []
        try:
            while empty < _EMPTY_LEASES:
                deliveries = self._source.lease(self._limit, _EMPTY_WAIT if empty else 0.0)
                new = [one for one in deliveries if one.body not in self._refused]
                # In a long move the leases of refused messages end, and they are delivered again.
                self._refused |= {one.body: one.receipt for one in deliveries if one.body in self._refused}
                empty = 0 if new else empty + 1
                self._check_same_queue(new)
                batches = list(_by_bytes(new))
                while batches:
                    yield self._move(batches[0])
                    del batches[0]
        except BackendError:
            # The messages in flight may have been moved. They count as delivered once, so that the next
            # move removes them from the target first.
            self._give_up(batches)
            raise
        finally:
            if self._refused:
                self._source.settle([RELEASE.settlement(one) for one in self._refused.values()])

    def _check_same_queue(self, new: Sequence[Delivery]) -> None:
        """Notice that source and target are one queue, which addresses do not always show."""
        ids = frozenset(_id(one) for one in new if one.deliveries == 1)
        # Few ids are in a queue twice, and each of them only a few times.
        self._seen_again += len(ids & self._first)
        self._first = self._first or ids
        if self._seen_again > 2 * len(self._first):
            msg = (
                f"moved messages come back from {self._source.info()}: it and {self._target.info()} are the "
                "same queue; nothing is lost, name another one as the target"
            )
            raise QcoreError(msg)

    def _give_up(self, batches: Sequence[Sequence[Delivery]]) -> None:
        left = [
            redeliver(one.failures, one.crashes).settlement(one.receipt)
            for batch in batches[:1]
            for one in batch
        ]
        left += [RELEASE.settlement(one.receipt) for batch in batches[1:] for one in batch]
        try:
            self._source.settle(left)
        except BackendError as exc:
            _log.warning("messages that come back when their leases end: %d: %s", len(left), exc)

    def _move(self, batch: Sequence[Delivery]) -> int:
        again = [_id(one) for one in batch if one.deliveries > 1]
        if again:
            self._target.remove_messages(again)
        fits = [one for one in batch if self._largest is None or len(one.body) <= self._largest]
        taken = self._enqueue(fits)
        self._source.settle([ACKNOWLEDGE.settlement(one.receipt) for one in taken])
        receipts = {one.receipt for one in taken}
        left = {one.body: one.receipt for one in batch if one.receipt not in receipts}
        if left:
            self.refusal = self.refusal or f"a message is larger than the {self._largest} bytes it takes"
            self._refused |= left
        return len(taken)

    def _enqueue(self, batch: Sequence[Delivery]) -> Sequence[Delivery]:
        """Enqueue messages on the target; return those it accepted."""
        try:
            if batch:
                self._target.enqueue(
                    [Outgoing(_id(one), one.body, 0.0, *self._route(one.body)) for one in batch]
                )
        except PayloadTooLarge as exc:
            if len(batch) > 1:
                return [one for each in batch for one in self._enqueue([each])]
            self.refusal = self.refusal or str(exc)
            return ()
        return batch


def _id(one: Delivery) -> bytes:
    found = one.body[ID_AT]
    # A body that is not a message is moved as well; the worker that leases it dead-letters it.
    return found if len(found) == ID_AT.stop - ID_AT.start else os.urandom(ID_AT.stop - ID_AT.start)


def _by_bytes(deliveries: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    batch: list[Delivery] = []
    size = 0
    for one in deliveries:
        if batch and size + len(one.body) > _BYTES:
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += len(one.body)
    if batch:
        yield batch
