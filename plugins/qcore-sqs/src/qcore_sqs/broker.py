"""Decides how a queue lives at Amazon SQS."""

from __future__ import annotations

import functools
import logging
import math
import os
import time
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec

from qcore.errors import BackendError, BackendRejected, BackendUnavailable, ConfigError, NotSupported
from qcore.interfaces import Broker, Capabilities
from qcore.model import Action, QueueSize
from qcore_sqs import codec
from qcore_sqs.codec import Note
from qcore_sqs.dead_letters import Letters
from qcore_sqs.leasing import Leaser
from qcore_sqs.purging import Purger
from qcore_sqs.queues import Queues
from qcore_sqs.sending import send
from qcore_sqs.settings import LONGEST_POLL
from qcore_sqs.transfer import LONGEST_DELAY, LONGEST_LEASE, Move, Mover, change, left, remove

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Settings
    from qcore.model import DeadLetter, Delivery, Outgoing, Settlement
    from qcore_sqs.codec import Lease

_log = logging.getLogger("qcore_sqs.broker")

#: said where nobody knows whether the message was taken
_DOUBT: Final = "tasks may have been accepted all the same: enqueue them again only if they may run twice"
#: a rest of a wait that is not worth a request, seconds
_REST: Final = 0.2

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _anew(method: Callable[Concatenate[SqsBroker, _P], _T]) -> Callable[Concatenate[SqsBroker, _P], _T]:
    """Look for the queue anew after it was gone."""

    @functools.wraps(method)
    def call(broker: SqsBroker, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(broker, *args, **kwargs)
        except BackendUnavailable:
            broker.forget()
            raise

    return call


class SqsBroker(Broker):
    """A queue at Amazon SQS, or at what speaks its protocol."""

    def __init__(self, settings: Settings) -> None:
        if settings.retry > LONGEST_LEASE:
            fault = (
                f"retry: got {settings.retry:g}; a lease of SQS lasts at most {LONGEST_LEASE} seconds "
                "(12 hours), renewals included: lower retry"
            )
            raise ConfigError([fault])
        queues = self._queues = Queues(settings)
        self._retry = settings.retry
        self._poll = settings.poll
        wait = queues.settings.receive_message_wait_time_seconds
        self._longest = LONGEST_POLL if wait is None else wait
        self._mover = Mover(queues, settings.retry)
        self._purger = Purger(queues)
        self._leaser = Leaser(queues, self._mover, self._purger, settings.retry)
        self._letters = Letters(queues)
        self.capabilities = Capabilities(
            receipts=True,
            extend=True,
            delay=not queues.fifo,
            counts_attempts=True,
            dead_letter=True,
            blocking=self._longest > 0,
            # an old receipt may still remove the message
            fenced=False,
            # a copy is sent, then the old message removed
            atomic=False,
            bulk=codec.BATCH,
            max_bytes=codec.MAX_BYTES,
        )

    # -- putting in -------------------------------------------------------------------------

    @_anew
    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept messages, ten in one request; an error amid them says how many were accepted."""
        call = os.urandom(8).hex()
        entries = [self._entry(message, call) for message in messages]
        accepted: list[int] = []
        try:
            send(self._queues, entries, accepted, doubt=_DOUBT, told="messages were accepted")
        except BackendError as exc:
            exc.accepted = [messages[index].id for index in accepted]
            raise

    def _entry(self, message: Outgoing, call: str) -> dict[str, Any]:
        text = codec.text_of(message.body)
        if self._queues.fifo:
            if message.delay > 0:
                raise NotSupported(
                    f"a FIFO queue of SQS cannot delay a task; got a delay of {message.delay:g} seconds: "
                    "enqueue without one, or use a standard queue"
                )
            return codec.entry(text) | self._fifo(message.id.hex(), call)
        delay = min(LONGEST_DELAY, math.ceil(max(0.0, message.delay)))
        due = time.time() + message.delay if message.delay > delay else 0.0
        return codec.entry(text, Note(due=due, delayed=delay > 0), delay)

    def _fifo(self, id: str, call: str) -> dict[str, str]:
        settings = self._queues.settings
        told = {"MessageGroupId": settings.group or id}
        if settings.deduplication != "content":
            told["MessageDeduplicationId"] = id if settings.deduplication == "id" else f"{id}-{call}"
        return told

    # -- taking out -------------------------------------------------------------------------

    @_anew
    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Hand out messages; an idle wait is a long poll."""
        if limit <= 0:
            return ()
        deadline = time.monotonic() + wait
        while True:
            rest = deadline - time.monotonic()
            poll = min(self._longest, math.ceil(rest)) if rest > _REST else 0
            if found := self._leaser.take(limit, poll):
                return found
            rest = deadline - time.monotonic()
            if not self._longest:
                time.sleep(max(0.0, min(rest, self._poll)))
            elif rest <= _REST:
                time.sleep(max(0.0, rest))
            if time.monotonic() >= deadline:
                return ()

    @_anew
    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases: what is done is removed, a copy takes the place of what is not."""
        done: list[str] = []
        moves: list[Move] = []
        shown: list[tuple[Lease, float]] = []
        seen: set[str] = set()
        for number, one in enumerate(settlements):
            lease = codec.lease_of(one.receipt)
            # of several settlements of one lease the first counts
            if lease is None or lease.handle in seen:
                continue
            seen.add(lease.handle)
            if one.action is Action.ACK:
                done.append(lease.handle)
                continue
            body = self._leaser.body(lease)
            if body is None:
                _log.warning("a message of %s is put back uncounted: it is large and was another's", lease.id)
                shown.append((lease, 0.0 if one.action is Action.DEAD_LETTER else one.delay))
            else:
                moves.append(_move(lease, body, one, time.time() + number / 1e6))
        try:
            done += self._mover.move(moves)
            self._mover.show(shown)
        finally:
            remove(self._queues, done)

    @_anew
    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Make leases last, as far as SQS lets them."""
        wanted = []
        for lease in filter(None, map(codec.lease_of, receipts)):
            rest = left(lease)
            if rest < seconds:
                _log.warning("a lease ends in %.0f s, for SQS lets none last longer than 12 hours", rest)
            if rest > 0:
                wanted.append((lease.handle, max(1.0, min(rest, seconds))))
        change(self._queues, wanted)

    # -- looking ----------------------------------------------------------------------------

    @_anew
    def size(self) -> QueueSize:
        """Count the messages, as near as SQS does."""
        name = "ApproximateNumberOfMessages"
        told = self._queues.attributes(self._queues.name, name, f"{name}NotVisible", f"{name}Delayed")
        return QueueSize(
            ready=int(told.get(name, 0)),
            leased=int(told.get(f"{name}NotVisible", 0)),
            delayed=self._purger.delayed(told),
            dead_letters=self._letters.count(),
        )

    @_anew
    def purge(self) -> int:
        """Remove what is ready or delayed, ten at a time."""
        return self._purger.run()

    @_anew
    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """List dead letters; all of them are read for it."""
        return self._letters.listed(limit, after)

    @_anew
    def requeue(self, ids: Sequence[str]) -> int:
        """Send dead letters anew."""
        return self._letters.requeue(set(ids))

    @_anew
    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters for good."""
        return self._letters.delete(set(ids))

    def ping(self) -> None:
        """Ask where the queue is."""
        self._queues.forget()
        if self._queues.find(self._queues.name) is None and not self._queues.settings.create:
            raise BackendRejected(
                f"there is no queue {self._queues.name!r} at {self._queues.link.place}, and sqs.create is "
                "false; make it, or set sqs.create = true"
            )

    def queue_id(self) -> str | None:
        """Name the queue, however its address is written, without asking SQS.

        None where boto3 cannot be used as it is set up.
        """
        return self._queues.link.queue_id()

    def info(self) -> str:
        """Say which queue, and where."""
        return f"Amazon SQS, {'FIFO ' if self._queues.fifo else ''}queue {self._queues.link.place}"[:200]

    def forget(self) -> None:
        """Look anew where the queue is, next time."""
        self._queues.forget()

    def close(self) -> None:
        """Let go of the client."""
        self._queues.link.close()


def _move(lease: Lease, body: bytes, one: Settlement, now: float) -> Move:
    """Return what a settlement makes of a message."""
    if one.action is Action.RELEASE:
        # as if this lease had never been
        note = Note(lease.deliveries - 1, lease.failures, lease.crashes)
        return Move(lease, body, note, one.delay)
    note = Note(lease.deliveries, one.failures, one.crashes)
    if one.action is Action.RETRY:
        return Move(lease, body, note, one.delay)
    reason = codec.shortened(one.reason)
    return Move(
        lease,
        body,
        msgspec.structs.replace(note, letter=lease.id, reason=reason, dead_letters=now),
        away=True,
    )
