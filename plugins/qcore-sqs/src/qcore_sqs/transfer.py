"""How a leased message is put back, or away."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from qcore.errors import BackendError
from qcore_sqs import codec, error_mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore_sqs.client import Failure
    from qcore_sqs.codec import Lease, Note
    from qcore_sqs.queues import Queues

_log = logging.getLogger("qcore_sqs.transfer")

#: seconds SQS can delay a message
LONGEST_DELAY: Final = 900
#: seconds a lease of SQS can last in all
LONGEST_LEASE: Final = 43_200
#: seconds taken off, for the clocks
_MARGIN: Final = 5
#: leases a message stays out of sight, beyond its delay, while another copy takes its place: what
#: a process leaves that dies amid this must be found before the old copy comes back
_COVER: Final = 1.75

# SQS cannot change a message. So a copy with the new counters is sent and the old one removed, in
# this order: nothing is lost. The copy bears the receipt handle of the old one, and whoever leases
# the copy removes the old one once more: a process may have died between the two.


@attrs.frozen
class Move:
    """One message that another copy is to take the place of."""

    lease: Lease
    body: bytes
    note: Note
    #: seconds
    delay: float = 0.0
    #: among the dead letters
    away: bool = False


class Mover:
    """Puts copies in the place of messages."""

    def __init__(self, queues: Queues, retry: float) -> None:
        self._queues = queues
        self._retry = retry

    def move(self, moves: Sequence[Move]) -> list[str]:
        """Send the copies of those that are still leased; return the handles of what is to be removed."""
        done: list[str] = []
        try:
            for start in range(0, len(moves), codec.BATCH):
                held = self._held(moves[start : start + codec.BATCH])
                self._send([one for one in held if not one.away], self._queues.main, done)
                self._send([one for one in held if one.away], self._queues.letters, done)
        except BackendError:
            # Called again, it must not send these a second time: then they are leased no more.
            remove(self._queues, done)
            raise
        return done

    def show(self, leases: Sequence[tuple[Lease, float]]) -> None:
        """Present messages again as they are, after a number of seconds."""
        pairs = [(lease, min(left(lease), seconds)) for lease, seconds in leases]
        change(self._queues, [(lease.handle, seconds) for lease, seconds in pairs if seconds >= 0])

    def _held(self, moves: Sequence[Move]) -> list[Move]:
        """Keep those out of sight that are still leased, and return them."""
        wanted = [
            (one, min(left(one.lease), one.delay + self._retry * _COVER))
            for one in moves
            if left(one.lease) > 0
        ]
        failures = change(self._queues, [(one.lease.handle, seconds) for one, seconds in wanted])
        return [one for index, (one, _) in enumerate(wanted) if index not in failures]

    def _send(self, moves: Sequence[Move], url: Callable[[], str], done: list[str]) -> None:
        """Send copies; add the handles of what they take the place of to `done`."""
        told = [(one, self._entry(one)) for one in moves]
        by_identity = {id(entry): one for one, entry in told}
        for batch in codec.batches(entry for _, entry in told):
            # A letter is read by what it is a copy of, so two are one. Two copies in the queue both run:
            # if no answer tells whether they were sent, the old ones stay hidden for as long as it
            # takes to receive them, which removes the old ones, or come back.
            again = self._queues.fifo or by_identity[id(batch[0])].away
            try:
                failures = self._queues.link.batch("send_message_batch", url(), batch, again=again)
            except error_mapping.AnswerLost as exc:
                if again:
                    raise
                _log.warning("%d messages come back by their copies or by themselves: %s", len(batch), exc)
                continue
            lost = {
                index for index, one in failures.items() if isinstance(one.error, error_mapping.AnswerLost)
            }
            sent = [entry for index, entry in enumerate(batch) if index not in failures]
            done += [by_identity[id(entry)].lease.handle for entry in sent]
            if failed := [one for index, one in failures.items() if again or index not in lost]:
                raise self._queues.link.fault(failed[0])

    def _entry(self, one: Move) -> dict[str, Any]:
        fifo = self._queues.fifo
        note = msgspec.structs.replace(one.note, instead=one.lease.handle)
        delay = 0 if one.away or fifo else min(LONGEST_DELAY, math.ceil(max(0.0, one.delay)))
        if delay:
            note = msgspec.structs.replace(note, delayed=True)
        # a delay that SQS cannot keep travels along: who is handed it too early puts it back
        due = (note.due or time.time() + one.delay) if one.delay > delay else 0.0
        note = msgspec.structs.replace(note, due=due)
        told = codec.entry(codec.text_of(one.body), note, delay)
        if fifo:
            # the same for each attempt: a second copy of one lease is dropped
            mark = hashlib.sha256(one.lease.handle.encode()).hexdigest()
            told["MessageDeduplicationId"] = mark
            told["MessageGroupId"] = mark if one.away else self._queues.settings.group or mark
        return told


def left(lease: Lease) -> float:
    """Return the seconds a lease can still be made to last."""
    return LONGEST_LEASE - _MARGIN - max(0.0, time.time() - lease.since)


def change(queues: Queues, wanted: Sequence[tuple[str, float]]) -> dict[int, Failure]:
    """Let messages come back after seconds from now; return, by position, those that are not leased."""
    missed: dict[int, Failure] = {}
    for start in range(0, len(wanted), codec.BATCH):
        entries = [
            {"ReceiptHandle": handle, "VisibilityTimeout": max(0, math.ceil(seconds))}
            for handle, seconds in wanted[start : start + codec.BATCH]
        ]
        failures = queues.link.batch("change_message_visibility_batch", queues.main(), entries)
        for index, failure in failures.items():
            if failure.code not in error_mapping.GONE:
                raise queues.link.fault(failure)
            if "beyond the limit" in failure.text:
                # it is there and it is ours, only it has been so for twelve hours
                _log.warning("a lease ends, for SQS lets none last longer than 12 hours")
            else:
                missed[start + index] = failure
    return missed


def remove(queues: Queues, handles: Sequence[str], *, letters: bool = False) -> None:
    """Remove messages for good; those that are gone are passed over."""
    url = (queues.letters() if letters else queues.main()) if handles else ""
    errors: list[BackendError] = []
    for start in range(0, len(handles), codec.BATCH):
        entries = [{"ReceiptHandle": handle} for handle in handles[start : start + codec.BATCH]]
        failures = queues.link.batch("delete_message_batch", url, entries)
        errors += [queues.link.fault(one) for one in failures.values() if one.code not in error_mapping.GONE]
    if errors:
        raise errors[0]
