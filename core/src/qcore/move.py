"""Messages from one broker to another, untouched, at least once."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError, PayloadTooLarge, QcoreError
from qcore.model import ID_AT, Action, Outgoing, Settlement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore.interfaces import Broker
    from qcore.model import Delivery

_log = logging.getLogger("qcore.move")

#: Most messages in flight: what is on both sides if we die between the two writes.
_MOST: Final = 200
#: Bytes in flight.
_BYTES: Final = 4 << 20
#: Looks at a queue that says it is empty; a service of many machines says so too early.
_LOOKS: Final = 3
#: Seconds of one look.
_LOOK: Final = 1.0


class Mover:
    """Drains one queue into another of the same name.

    A message is on the target before it leaves the source, so a move that dies loses nothing
    and can be started again. What it had put on the target without taking it from the source
    comes back from the source at the end of its lease; it is taken off a target that can do
    that before it is put there again, unless a worker has it already. So: at least once.
    """

    def __init__(self, source: Broker, target: Broker) -> None:
        self._source = source
        self._target = target
        self._limit = min(_MOST, source.capabilities.bulk, target.capabilities.bulk)
        self._largest = target.capabilities.max_bytes
        #: bodies and receipts of messages the target does not take, held until the end
        self._kept: dict[bytes, bytes] = {}
        #: why, of the first of them
        self.refusal = ""
        #: ids of the first batch, and how often one of them came as if it were new
        self._first: frozenset[bytes] = frozenset()
        self._seen_again = 0

    @property
    def refused(self) -> int:
        """How many messages the target did not take; they stay on the source."""
        return len(self._kept)

    def run(self) -> Iterator[int]:
        """Move what is ready, until nothing is; yield the size of each batch that has arrived.

        Raises:
            BackendUnavailable: one of the two does not answer; start again when it does.
            QcoreError: what was put on the target comes from the source.

        """
        looks = 0
        batches: list[Sequence[Delivery]] = []
        try:
            while looks < _LOOKS:
                deliveries = self._source.lease(self._limit, _LOOK if looks else 0.0)
                fresh = [one for one in deliveries if one.body not in self._kept]
                # What the target does not take comes back when its lease ends, in a long move.
                self._kept |= {one.body: one.receipt for one in deliveries if one.body in self._kept}
                looks = 0 if fresh else looks + 1
                self._look_round(fresh)
                batches = list(_by_bytes(fresh))
                while batches:
                    yield self._move(batches[0])
                    del batches[0]
        except BackendError:
            # Those in flight may have arrived: they count as delivered once, so that the next
            # move looks for them on the target.
            self._give_up(batches)
            raise
        finally:
            if self._kept:
                self._source.settle([Settlement(one, Action.RELEASE) for one in self._kept.values()])

    def _look_round(self, fresh: Sequence[Delivery]) -> None:
        """Notice that the two are one queue, which addresses alone do not always tell."""
        ids = frozenset(_id(one) for one in fresh if one.deliveries == 1)
        # Few ids are on a queue twice, and each of them a few times only.
        self._seen_again += len(ids & self._first)
        self._first = self._first or ids
        if self._seen_again > 2 * len(self._first):
            msg = (
                f"what was moved comes back from {self._source.info()}: it and {self._target.info()} are the "
                "same queue; nothing is lost, name another one as the target"
            )
            raise QcoreError(msg)

    def _give_up(self, batches: Sequence[Sequence[Delivery]]) -> None:
        actions = [Action.RETRY, *[Action.RELEASE] * len(batches)]
        left = [
            Settlement(one.receipt, action, failures=one.failures, crashes=one.crashes)
            for action, batch in zip(actions, batches, strict=False)
            for one in batch
        ]
        try:
            self._source.settle(left)
        except BackendError as exc:
            _log.warning("%d messages come back when their lease ends: %s", len(left), exc)

    def _move(self, batch: Sequence[Delivery]) -> int:
        again = [_id(one) for one in batch if one.deliveries > 1]
        if again:
            self._target.remove_messages(again)
        fits = [one for one in batch if self._largest is None or len(one.body) <= self._largest]
        taken = self._put(fits)
        self._source.settle([Settlement(one.receipt) for one in taken])
        receipts = {one.receipt for one in taken}
        left = {one.body: one.receipt for one in batch if one.receipt not in receipts}
        if left:
            self.refusal = self.refusal or f"a message is larger than the {self._largest} bytes it takes"
            self._kept |= left
        return len(taken)

    def _put(self, batch: Sequence[Delivery]) -> Sequence[Delivery]:
        """Put messages on the target; return those it took."""
        try:
            if batch:
                self._target.enqueue([Outgoing(_id(one), one.body) for one in batch])
        except PayloadTooLarge as exc:
            if len(batch) > 1:
                return [one for each in batch for one in self._put([each])]
            self.refusal = self.refusal or str(exc)
            return ()
        return batch


def _id(one: Delivery) -> bytes:
    found = one.body[ID_AT]
    # What is no message of ours is moved as well: whoever takes it buries it.
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
