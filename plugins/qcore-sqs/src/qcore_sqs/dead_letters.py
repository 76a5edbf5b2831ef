"""How dead letters are read from a queue that cannot be browsed."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qcore.model import DeadLetter
from qcore_sqs import codec
from qcore_sqs.sending import send
from qcore_sqs.transfer import LONGEST_LEASE, remove

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qcore_sqs.codec import Arrival
    from qcore_sqs.queues import Queues

#: seconds letters are out of sight while they are read, and for each that is expected: ten come
#: with one answer, which a line to another continent may hold up for a quarter of a second
_READING: Final = 60
_EACH: Final = 0.025
#: most letters that are read at once; SQS hands out no more than 120,000 to all readers
_MOST: Final = 100_000
#: seconds within which the message of a letter is looked for, should it have stayed in the queue
_FRESH: Final = 86_400
_WANTED: Final = ["ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SentTimestamp"]


class Letters:
    """The dead letters of a queue: received, looked at, put back."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def count(self) -> int:
        """Return how many there are, about."""
        told = self._queues.attributes(self._queues.dead_letters_name, *_COUNTED)
        return sum(int(told.get(name, 0)) for name in _COUNTED)

    def listed(self, limit: int, after: str | None) -> Sequence[DeadLetter]:
        """List letters, oldest first."""
        url = self._queues.find(self._queues.dead_letters_name)
        if url is None or limit <= 0:
            return ()
        found = self._read(url)
        self._put_back(url, found)
        self._remove_leftovers(found)
        letters = sorted({_id(one): _letter(one) for one in found}.values(), key=_order)
        ids = [letter.id for letter in letters]
        start = ids.index(after) + 1 if after in ids else 0 if after is None else len(ids)
        return letters[start : start + limit]

    def requeue(self, ids: Collection[str]) -> int:
        """Send letters to the queue anew; return how many."""
        return self._end(ids, again=True)

    def delete(self, ids: Collection[str]) -> int:
        """Remove letters for good; return how many."""
        return self._end(ids, again=False)

    def _end(self, ids: Collection[str], *, again: bool) -> int:
        url = self._queues.find(self._queues.dead_letters_name) if ids else None
        if url is None:
            return 0
        found = self._read(url, ids)
        self._remove_leftovers(found)
        # of the copies of one letter that were read each is removed, and one is sent
        chosen = {_id(one): one for one in found if _id(one) in ids}
        ended = set() if again else set(chosen)
        try:
            if again:
                self._send(list(chosen.values()), ended)
        finally:
            # what was sent before an error must not be sent again when this is repeated
            try:
                remove(self._queues, [one.handle for one in found if _id(one) in ended], letters=True)
            finally:
                self._put_back(url, [one for one in found if _id(one) not in ended])
        return len(chosen)

    def _send(self, chosen: Sequence[Arrival], sent: set[str]) -> None:
        """Send letters; add the ids of those that were to `sent`."""
        entries = []
        for one in chosen:
            told = codec.entry(codec.text_of(one.body))
            if self._queues.fifo:
                mark = os.urandom(16).hex()
                told |= {
                    "MessageDeduplicationId": mark,
                    "MessageGroupId": self._queues.settings.group or mark,
                }
            entries.append(told)
        accepted: list[int] = []
        try:
            send(self._queues, entries, accepted, doubt=_DOUBT, told="letters were requeued")
        finally:
            sent.update(_id(chosen[index]) for index in accepted)

    def _read(self, url: str, wanted: Collection[str] = ()) -> list[Arrival]:
        """Receive the letters, or as many as it takes to find all that are wanted."""
        expected = self._queues.attributes(self._queues.dead_letters_name, *_COUNTED[:1])
        least = int(expected.get(_COUNTED[0], 0))
        lasts = min(LONGEST_LEASE, _READING + math.ceil(least * _EACH))
        found: dict[str, Arrival] = {}
        left = set(wanted)
        idle = 0
        # a short look asks some of SQS's servers only, and its counts lag: none is believed alone
        while len(found) < _MOST and idle < (1 if found and len(found) >= least else 2):
            answer = self._queues.link.call(
                "receive_message",
                QueueUrl=url,
                MaxNumberOfMessages=codec.BATCH,
                WaitTimeSeconds=1 if idle else 0,
                VisibilityTimeout=lasts,
                MessageSystemAttributeNames=_WANTED,
                MessageAttributeNames=[codec.ATTRIBUTE],
            )
            came = [codec.arrival(message) for message in answer.get("Messages", ())]
            # one that comes again has come into sight meanwhile: without this there would be no end
            idle = 0 if any(one.id not in found for one in came) else idle + 1
            found |= {one.id: one for one in came}
            left.difference_update(map(_id, came))
            if wanted and not left:
                break
        return list(found.values())

    def _put_back(self, url: str, found: Sequence[Arrival]) -> None:
        for start in range(0, len(found), codec.BATCH):
            entries: list[dict[str, Any]] = [
                {"ReceiptHandle": one.handle, "VisibilityTimeout": 0}
                for one in found[start : start + codec.BATCH]
            ]
            # one that is gone was ended by somebody else
            self._queues.link.batch("change_message_visibility_batch", url, entries)

    def _remove_leftovers(self, found: Sequence[Arrival]) -> None:
        """Remove what whoever buried it may have died before it could remove."""
        fresh = time.time() - _FRESH
        remove(
            self._queues,
            [one.note.instead for one in found if one.note.instead and one.note.dead_letters > fresh],
        )


_COUNTED: Final = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
_DOUBT: Final = "letters may have been requeued all the same, and are still among the dead ones"


def _id(one: Arrival) -> str:
    return one.note.letter or one.id


def _letter(one: Arrival) -> DeadLetter:
    note = one.note
    if not note.letter:
        why = "received too often without an end; moved here by the queue's redrive policy"
        note = msgspec.structs.replace(note, letter=one.id, reason=why, dead_letters=one.sent)
    return DeadLetter(note.letter, one.body, note.reason, note.dead_letters, note.failures, note.crashes)


def _order(letter: DeadLetter) -> tuple[float, str]:
    return (letter.dead_since, letter.id)
