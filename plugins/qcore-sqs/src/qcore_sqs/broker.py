"""Decides how a queue uses Amazon SQS."""

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
from qcore_plugin_support import call_limit, parse_http_date
from qcore_sqs import codec
from qcore_sqs.codec import Metadata
from qcore_sqs.dead_letters import DeadLetterQueue
from qcore_sqs.leasing import Leaser
from qcore_sqs.purging import Purger
from qcore_sqs.queues import Queues
from qcore_sqs.sending import send
from qcore_sqs.settings import MAX_POLL
from qcore_sqs.transfer import MAX_DELAY, MAX_LEASE, Move, Mover, change, remove, seconds_left

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Settings
    from qcore.model import DeadLetter, Delivery, Outgoing, Settlement
    from qcore_sqs.codec import Lease

_log = logging.getLogger("qcore_sqs.broker")

#: said if it is not known whether messages were accepted
_OUTCOME_UNKNOWN: Final = "tasks may have been accepted: enqueue them again only if they may run twice"
#: seconds; no request is sent for a shorter rest of a wait
_REST: Final = 0.2

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _forgetting_queue(
    method: Callable[Concatenate[SqsBroker, _P], _T],
) -> Callable[Concatenate[SqsBroker, _P], _T]:
    """Look up the queue again after a call that found SQS or the queue unavailable."""

    @functools.wraps(method)
    def call(broker: SqsBroker, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(broker, *args, **kwargs)
        except BackendUnavailable:
            broker.forget()
            raise

    return call


@call_limit.each_call(lambda broker: broker.timeout)
class SqsBroker(Broker):
    """A queue at Amazon SQS, or at another service with the same protocol."""

    def __init__(self, settings: Settings) -> None:
        if settings.retry > MAX_LEASE:
            problem = (
                f"retry: got {settings.retry:g}; a lease of SQS lasts at most {MAX_LEASE} seconds "
                "(12 hours), including renewals: lower retry"
            )
            raise ConfigError([problem])
        queues = self._queues = Queues(settings)
        #: seconds for the requests of a call
        self.timeout = queues.settings.timeout
        self._retry = settings.retry
        self._poll = settings.poll
        wait = queues.settings.receive_message_wait_time_seconds
        #: most seconds that one request waits; 0 = it does not
        self.longest = MAX_POLL if wait is None else wait
        self._mover = Mover(queues, settings.retry)
        self._purger = Purger(queues)
        self._leaser = Leaser(queues, self._mover, self._purger, settings.retry)
        self._dead_letters = DeadLetterQueue(queues)
        self.capabilities = Capabilities(
            redelivers=True,
            extend=True,
            delay=not queues.fifo,
            stores_counters=True,
            dead_letters=True,
            long_poll=self.longest > 0,
            # the receipt of an expired lease may still remove the message
            fencing=False,
            # a copy is sent, then the old message is removed
            atomic_settle=False,
            # what is released is a copy at the end of the queue, which keeps no order anyway
            keeps_place=False,
            max_batch=codec.BATCH,
            max_bytes=codec.MAX_BYTES,
            declared_by="sqs.queues and sqs.priorities",
        )

    # -- enqueuing --------------------------------------------------------------------------

    @_forgetting_queue
    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept messages, ten in one request; an error says how many were accepted before it."""
        call = os.urandom(8).hex()
        entries = [self._entry(message, call) for message in messages]
        accepted: list[int] = []
        try:
            send(
                self._queues,
                entries,
                accepted,
                if_unknown=_OUTCOME_UNKNOWN,
                accepted_text="messages were accepted",
            )
        except BackendError as exc:
            exc.accepted = [messages[index].id for index in accepted]
            raise

    def _entry(self, message: Outgoing, call: str) -> dict[str, Any]:
        text = codec.text_of(message.body)
        if self._queues.fifo:
            if message.delay > 0:
                raise NotSupported(
                    f"a FIFO queue of SQS cannot delay a task; got a delay of {message.delay:g} s: "
                    "enqueue without one, or use a standard queue"
                )
            return codec.entry(text) | self._fifo(message.id.hex(), call)
        delay = min(MAX_DELAY, math.ceil(max(0.0, message.delay)))
        due = time.time() + message.delay if message.delay > delay else 0.0
        return codec.entry(text, Metadata(due=due, delayed=delay > 0), delay)

    def _fifo(self, id: str, call: str) -> dict[str, str]:
        settings = self._queues.settings
        fields = {"MessageGroupId": settings.group or id}
        if settings.deduplication != "content":
            fields["MessageDeduplicationId"] = id if settings.deduplication == "id" else f"{id}-{call}"
        return fields

    # -- leasing ----------------------------------------------------------------------------

    @_forgetting_queue
    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Lease messages; waiting is a long poll."""
        if limit <= 0:
            return ()
        deadline = time.monotonic() + wait
        while True:
            rest = deadline - time.monotonic()
            poll = min(self.longest, math.ceil(rest)) if rest > _REST else 0
            if found := self._leaser.take(limit, poll):
                return found
            rest = deadline - time.monotonic()
            if not self.longest:
                time.sleep(max(0.0, min(rest, self._poll)))
            elif rest <= _REST:
                time.sleep(max(0.0, rest))
            if time.monotonic() >= deadline:
                return ()
            call_limit.again()

    @_forgetting_queue
    def take(self, limit: int, seconds: int) -> Sequence[Delivery]:
        """Lease by one request, which waits up to so many seconds at SQS."""
        return self._leaser.take(limit, seconds)

    @_forgetting_queue
    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases: remove finished messages, and replace the others by copies with new counters."""
        done: list[str] = []
        moves: list[Move] = []
        shown: list[tuple[Lease, float]] = []
        seen: set[str] = set()
        for number, one in enumerate(settlements):
            lease = codec.lease_of(one.receipt)
            # of several settlements of one lease the first takes effect
            if lease is None or lease.handle in seen:
                continue
            seen.add(lease.handle)
            if one.action is Action.ACK:
                done.append(lease.handle)
                continue
            body = self._leaser.body(lease)
            if body is None:
                _log.warning("released without counting, large message of another process id=%s", lease.id)
                shown.append((lease, 0.0 if one.action is Action.DEAD_LETTER else one.delay))
            else:
                moves.append(_move(lease, body, one, time.time() + number / 1e6))
        try:
            done += self._mover.move(moves)
            self._mover.show(shown)
        finally:
            remove(self._queues, done)

    @_forgetting_queue
    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Let leases end `seconds` from now, or after the 12 hours that SQS allows."""
        wanted = []
        for lease in filter(None, map(codec.lease_of, receipts)):
            rest = seconds_left(lease)
            if rest < seconds:
                _log.warning("a lease ends in %.0f s, because SQS limits leases to 12 hours", rest)
            if rest > 0:
                wanted.append((lease.handle, max(1.0, min(rest, seconds))))
        change(self._queues, wanted)

    # -- inspection ---------------------------------------------------------------------------

    @_forgetting_queue
    def size(self) -> QueueSize:
        """Count the messages by state; SQS's counts are approximate."""
        name = "ApproximateNumberOfMessages"
        counts = self._queues.attributes(self._queues.name, name, f"{name}NotVisible", f"{name}Delayed")
        return QueueSize(
            ready=int(counts.get(name, 0)),
            leased=int(counts.get(f"{name}NotVisible", 0)),
            delayed=self._purger.delayed(counts),
            dead_letters=self._dead_letters.count(),
        )

    @_forgetting_queue
    def purge(self) -> int:
        """Remove ready and delayed messages, ten at a time; return how many."""
        return self._purger.run()

    @_forgetting_queue
    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """Return dead letters, oldest first; this reads all of them."""
        return self._dead_letters.listed(limit, after)

    @_forgetting_queue
    def requeue(self, ids: Sequence[str]) -> int:
        """Send dead letters to the queue again; return how many."""
        return self._dead_letters.requeue(set(ids))

    @_forgetting_queue
    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters; return how many."""
        return self._dead_letters.delete(set(ids))

    def ping(self) -> None:
        """Look up the queue at SQS."""
        self._queues.forget()
        if self._queues.find(self._queues.name) is None and not self._queues.settings.create:
            raise BackendRejected(
                f"the queue {self._queues.name!r} at {self._queues.connection.address} does not exist, and"
                " sqs.create is false; create it, or set sqs.create = true"
            )

    def server_time(self) -> float | None:
        """Return the time at which SQS answers, in the middle of the second that it gives."""
        url = self._queues.find(self._queues.name)
        if url is None:
            return None
        answer = self._queues.connection.call(
            "get_queue_attributes", QueueUrl=url, AttributeNames=["QueueArn"]
        )
        return parse_http_date(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""))

    def queue_id(self) -> str | None:
        """Return the same text for every address of the queue, without a request.

        It is None if boto3 cannot be used with these settings.
        """
        return self._queues.connection.queue_id()

    def info(self) -> str:
        """Return the queue and its region or host."""
        return f"Amazon SQS, {'FIFO ' if self._queues.fifo else ''}queue {self._queues.connection.address}"[
            :200
        ]

    def forget(self) -> None:
        """Look up the queue again at the next call."""
        self._queues.forget()

    def close(self) -> None:
        """Close the connection."""
        self._queues.connection.close()


def _move(lease: Lease, body: bytes, one: Settlement, now: float) -> Move:
    """Return how to replace a message after its settlement."""
    if one.action is Action.RELEASE:
        # with the counters before this lease
        metadata = Metadata(lease.deliveries - 1, lease.failures, lease.crashes)
        return Move(lease, body, metadata, one.delay)
    metadata = Metadata(lease.deliveries, one.failures, one.crashes)
    if one.action is Action.RETRY:
        return Move(lease, body, metadata, one.delay)
    reason = codec.shortened(one.reason)
    return Move(
        lease,
        body,
        msgspec.structs.replace(metadata, dead_letter_id=lease.id, reason=reason, dead_since=now),
        dead=True,
    )
