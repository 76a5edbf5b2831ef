"""Decides how dead letters are read, requeued and removed."""

from __future__ import annotations

import logging
import math
import os
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.errors import BackendRejected
from qcore.model import DeadLetter
from qcore_sqs import codec
from qcore_sqs.sending import send
from qcore_sqs.transfer import MAX_LEASE, remove

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qcore_sqs.codec import Received
    from qcore_sqs.queues import Queues

_log = logging.getLogger("qcore_sqs.dead_letters")

#: seconds for which letters are invisible while they are read, and more for each expected letter: an
#: answer has ten letters and may take a quarter of a second from another continent
_READING: Final = 60
_EACH: Final = 0.025
#: most letters that are read at once; SQS allows 120,000 invisible messages for all readers
_MOST: Final = 100_000
#: seconds after which it is no longer checked whether the message of a letter is still in the queue
_FRESH: Final = 86_400
_WANTED: Final = ["ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SentTimestamp"]


class DeadLetterQueue:
    """The dead letters of a queue, which are received to be read and then made visible again."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def count(self) -> int:
        """Return the approximate number of letters."""
        counts = self._queues.attributes(self._queues.dead_letters_name, *_COUNTED)
        return sum(int(counts.get(name, 0)) for name in _COUNTED)

    def listed(self, limit: int, after: str | None) -> Sequence[DeadLetter]:
        """Return letters, oldest first."""
        url = self._queues.find(self._queues.dead_letters_name)
        if url is None or limit <= 0:
            return ()
        found = self._read(url)
        self._make_visible(url, found)
        self._remove_leftovers(found)
        letters = sorted({_id(one): _letter(one) for one in found}.values(), key=_order)
        ids = [letter.id for letter in letters]
        start = ids.index(after) + 1 if after in ids else 0 if after is None else len(ids)
        return letters[start : start + limit]

    def requeue(self, ids: Collection[str]) -> int:
        """Send letters to the queue again; return how many."""
        return self._take_out(ids, requeue=True)

    def delete(self, ids: Collection[str]) -> int:
        """Remove letters; return how many."""
        return self._take_out(ids, requeue=False)

    def _take_out(self, ids: Collection[str], *, requeue: bool) -> int:
        url = self._queues.find(self._queues.dead_letters_name) if ids else None
        if url is None:
            return 0
        found = self._read(url, ids)
        self._remove_leftovers(found)
        # of several copies of one letter all are removed and one is sent
        chosen = {_id(one): one for one in found if _id(one) in ids}
        ended = set() if requeue else set(chosen)
        try:
            if requeue:
                self._send(list(chosen.values()), ended)
        finally:
            # letters that were sent before an error must not be sent again by a repeated call
            try:
                remove(self._queues, [one.handle for one in found if _id(one) in ended], dead_letters=True)
            finally:
                self._make_visible(url, [one for one in found if _id(one) not in ended])
        return len(chosen)

    def _send(self, chosen: Sequence[Received], sent: set[str]) -> None:
        """Send letters; add the ids of those that were sent to `sent`."""
        entries = []
        for one in chosen:
            entry = codec.entry(codec.text_of(one.body))
            if self._queues.fifo:
                mark = os.urandom(16).hex()
                entry |= {
                    "MessageDeduplicationId": mark,
                    "MessageGroupId": self._queues.settings.group or mark,
                }
            entries.append(entry)
        accepted: list[int] = []
        try:
            send(
                self._queues,
                entries,
                accepted,
                if_unknown=_OUTCOME_UNKNOWN,
                accepted_text="letters were requeued",
            )
        finally:
            sent.update(_id(chosen[index]) for index in accepted)

    def _read(self, url: str, wanted: Collection[str] = ()) -> list[Received]:
        """Receive all letters, or as many as it takes to find the wanted ones."""
        expected = self._queues.attributes(self._queues.dead_letters_name, *_COUNTED[:1])
        expected_count = int(expected.get(_COUNTED[0], 0))
        invisible_seconds = min(MAX_LEASE, _READING + math.ceil(expected_count * _EACH))
        found: dict[str, Received] = {}
        missing = set(wanted)
        idle = 0
        # a short poll asks only some of SQS's servers and its counts lag, so two empty answers are needed
        while len(found) < _MOST and idle < (1 if found and len(found) >= expected_count else 2):
            answer = self._queues.connection.call(
                "receive_message",
                QueueUrl=url,
                MaxNumberOfMessages=codec.BATCH,
                WaitTimeSeconds=1 if idle else 0,
                VisibilityTimeout=invisible_seconds,
                MessageSystemAttributeNames=_WANTED,
                MessageAttributeNames=[codec.ATTRIBUTE],
            )
            received = [codec.read_message(message) for message in answer.get("Messages", ())]
            # letters that became visible again do not count, or the reading might never end
            idle = 0 if any(one.id not in found for one in received) else idle + 1
            found |= {one.id: one for one in received}
            missing.difference_update(map(_id, received))
            if wanted and not missing:
                break
        return list(found.values())

    def _make_visible(self, url: str, found: Sequence[Received]) -> None:
        for start in range(0, len(found), codec.BATCH):
            entries: list[dict[str, Any]] = [
                {"ReceiptHandle": one.handle, "VisibilityTimeout": 0}
                for one in found[start : start + codec.BATCH]
            ]
            # a letter that does not exist any more was handled by another process
            self._queues.connection.batch("change_message_visibility_batch", url, entries)

    def _remove_leftovers(self, found: Sequence[Received]) -> None:
        """Remove the messages of letters whose process died before it removed them."""
        fresh = time.time() - _FRESH
        left = [
            one.metadata.replaces
            for one in found
            if one.metadata.replaces and one.metadata.dead_since > fresh
        ]
        try:
            remove(self._queues, left)
        except BackendRejected as exc:
            # whoever may send to the queue may name anything
            _log.warning("a message that became a dead letter cannot be removed: %s", exc)


_COUNTED: Final = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
_OUTCOME_UNKNOWN: Final = "letters may have been requeued, and are still listed as dead letters"


def _id(one: Received) -> str:
    return one.metadata.dead_letter_id or one.id


def _letter(one: Received) -> DeadLetter:
    metadata = one.metadata
    if not metadata.dead_letter_id:
        why = "received too often without being settled; moved by the queue's redrive policy"
        metadata = msgspec.structs.replace(metadata, dead_letter_id=one.id, reason=why, dead_since=one.sent)
    return DeadLetter(
        metadata.dead_letter_id,
        one.body,
        metadata.reason,
        metadata.dead_since,
        metadata.failures,
        metadata.crashes,
    )


def _order(letter: DeadLetter) -> tuple[float, str]:
    return (letter.dead_since, letter.id)
