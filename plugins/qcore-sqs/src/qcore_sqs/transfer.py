"""Decides how a leased message is replaced by a copy."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from qcore.errors import BackendError
from qcore_plugin_support import call_limit
from qcore_sqs import codec, error_mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore_sqs.client import Failure
    from qcore_sqs.codec import Lease, Metadata
    from qcore_sqs.queues import Queues

_log = logging.getLogger("qcore_sqs.transfer")

#: most seconds that SQS can delay a message
MAX_DELAY: Final = 900
#: most seconds that a lease of SQS can last, including renewals
MAX_LEASE: Final = 43_200
#: seconds subtracted because clocks differ
_MARGIN: Final = 5
#: how long the old message stays invisible after the delay, in lease times: if the process dies between
#: the two steps, the copy must be received before the old message becomes visible
_COVER: Final = 1.75

# SQS cannot change a message. So a copy with the new counters is sent first, and then the old message is
# removed; no message can be lost. The copy has the receipt handle of the old message, and the process that
# receives the copy removes the old message again, because the first process may have died in between.


@attrs.frozen
class Move:
    """A message to replace by a copy."""

    lease: Lease
    body: bytes
    metadata: Metadata
    #: seconds
    delay: float = 0.0
    #: send the copy to the queue of dead letters
    dead: bool = False


class Mover:
    """Replaces messages by copies."""

    def __init__(self, queues: Queues, retry: float) -> None:
        self._queues = queues
        self._retry = retry

    def move(self, moves: Sequence[Move]) -> list[str]:
        """Send copies of the messages that are still leased; return the handles of those to remove."""
        done: list[str] = []
        try:
            for start in range(0, len(moves), codec.BATCH):
                held = self._held(moves[start : start + codec.BATCH])
                self._send([one for one in held if not one.dead], self._queues.main, done)
                self._send([one for one in held if one.dead], self._queues.dead_letter_url, done)
        except BackendError:
            # Removed now, even if no time is left, so that a repeated call does not send these copies again.
            call_limit.again()
            remove(self._queues, done)
            raise
        return done

    def show(self, leases: Sequence[tuple[Lease, float]]) -> None:
        """Make messages visible again after a number of seconds, without a copy."""
        pairs = [(lease, min(seconds_left(lease), seconds)) for lease, seconds in leases]
        change(self._queues, [(lease.handle, seconds) for lease, seconds in pairs if seconds >= 0])

    def _held(self, moves: Sequence[Move]) -> list[Move]:
        """Keep the messages invisible that are still leased, and return them."""
        wanted = [
            (one, min(seconds_left(one.lease), one.delay + self._retry * _COVER))
            for one in moves
            if seconds_left(one.lease) > 0
        ]
        failures = change(self._queues, [(one.lease.handle, seconds) for one, seconds in wanted])
        return [one for index, (one, _) in enumerate(wanted) if index not in failures]

    def _send(self, moves: Sequence[Move], url: Callable[[], str], done: list[str]) -> None:
        """Send copies; add the handles of the messages they replace to `done`."""
        entries = [(one, self._entry(one)) for one in moves]
        move_of = {id(entry): one for one, entry in entries}
        for batch in codec.batches(entry for _, entry in entries):
            # Two copies of a dead letter have one id, so sending twice does no harm. Two copies in the queue
            # would both run. So if the answer is lost, copies are not sent again: either they are
            # received, which removes the old messages, or the old messages become visible again.
            repeatable = self._queues.fifo or move_of[id(batch[0])].dead
            try:
                failures = self._queues.connection.batch(
                    "send_message_batch", url(), batch, repeatable=repeatable
                )
            except error_mapping.AnswerLost as exc:
                if repeatable:
                    raise
                _log.warning(
                    "answer lost, so copies or old messages will be redelivered messages=%d: %s",
                    len(batch),
                    exc,
                )
                continue
            lost = {
                index for index, one in failures.items() if isinstance(one.error, error_mapping.AnswerLost)
            }
            sent = [entry for index, entry in enumerate(batch) if index not in failures]
            done += [move_of[id(entry)].lease.handle for entry in sent]
            if failed := [one for index, one in failures.items() if repeatable or index not in lost]:
                raise self._queues.connection.error_of(failed[0])

    def _entry(self, one: Move) -> dict[str, Any]:
        fifo = self._queues.fifo
        metadata = msgspec.structs.replace(one.metadata, replaces=one.lease.handle)
        delay = 0 if one.dead or fifo else min(MAX_DELAY, math.ceil(max(0.0, one.delay)))
        if delay:
            metadata = msgspec.structs.replace(metadata, delayed=True)
        # a delay that SQS does not support is part of the metadata; an early receiver makes it visible later
        due = (metadata.due or time.time() + one.delay) if one.delay > delay else 0.0
        metadata = msgspec.structs.replace(metadata, due=due)
        entries = codec.entry(codec.text_of(one.body), metadata, delay)
        if fifo:
            # the same for each attempt, so that SQS drops a second copy of one lease
            mark = hashlib.sha256(one.lease.handle.encode()).hexdigest()
            entries["MessageDeduplicationId"] = mark
            entries["MessageGroupId"] = mark if one.dead else self._queues.settings.group or mark
        return entries


def seconds_left(lease: Lease) -> float:
    """Return the seconds by which SQS still allows a lease to be extended."""
    return MAX_LEASE - _MARGIN - max(0.0, time.time() - lease.since)


def change(queues: Queues, wanted: Sequence[tuple[str, float]]) -> dict[int, Failure]:
    """Set when messages become visible, in seconds from now; return those not leased, by position."""
    missed: dict[int, Failure] = {}
    for start in range(0, len(wanted), codec.BATCH):
        entries = [
            {"ReceiptHandle": handle, "VisibilityTimeout": max(0, math.ceil(seconds))}
            for handle, seconds in wanted[start : start + codec.BATCH]
        ]
        failures = queues.connection.batch("change_message_visibility_batch", queues.main(), entries)
        for index, failure in failures.items():
            if failure.code not in error_mapping.LEASE_ENDED:
                raise queues.connection.error_of(failure)
            if "beyond the limit" in failure.text:
                # the message is still leased, but has been for twelve hours
                _log.warning("a lease ends, because SQS limits leases to 12 hours")
            else:
                missed[start + index] = failure
    return missed


def remove(queues: Queues, handles: Sequence[str], *, dead_letters: bool = False) -> None:
    """Remove messages; those that do not exist any more are ignored."""
    url = (queues.dead_letter_url() if dead_letters else queues.main()) if handles else ""
    errors: list[BackendError] = []
    for start in range(0, len(handles), codec.BATCH):
        entries = [{"ReceiptHandle": handle} for handle in handles[start : start + codec.BATCH]]
        failures = queues.connection.batch("delete_message_batch", url, entries)
        errors += [
            queues.connection.error_of(one)
            for one in failures.values()
            if one.code not in error_mapping.LEASE_ENDED
        ]
    if errors:
        raise errors[0]
