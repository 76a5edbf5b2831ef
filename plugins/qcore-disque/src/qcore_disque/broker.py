"""Decides how a queue lives in Disque."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import redis

from qcore.errors import NotSupported
from qcore.interfaces import Broker, Capabilities
from qcore.model import Action, Buried, Delivery, QueueSize
from qcore_disque.items import Item
from qcore_disque.nodes import Nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qcore.interfaces import Settings
    from qcore.model import Outgoing, Settlement

_log = logging.getLogger("qcore_disque.broker")

#: messages in one call at most
BULK: Final = 1000
#: seconds a job lives; the id of a job has room for this many minutes, and Disque forgets it then
LIFE: Final = 65_000 * 60
#: milliseconds the nodes may take to have copies of a job
_COPIED: Final = 3000
#: seconds of one wait in the server, which looks for timeouts ten times a second
_LONGEST: Final = 5.0
#: told when the answer to ADDJOB is lost
_DOUBT: Final = "the messages may have been accepted nevertheless"
#: what WORKING says of a lease that has ended, or of a job beyond half of its life
_ENDED: Final = ("NOJOB", "TOOLATE", "BADID")
#: jobs listed in one step of a scan
_SCAN: Final = 500


class DisqueBroker(Broker):
    """A queue of a Disque cluster.

    Disque presents a job again `retry` seconds after it was handed out, as its producer has
    asked; `WORKING` begins that time anew. With `retry` 0 a job is handed out at most once.
    """

    def __init__(self, settings: Settings) -> None:
        self._queue = settings.name.encode()
        self._letters = self._queue + b":buried"
        self._nodes = Nodes(settings.section("disque_nodes"), settings.section("disque_auth"))
        self._ack = b"FASTACK" if settings.section("disque_fastack") else b"ACKJOB"
        #: whole seconds: Disque counts no finer
        self._retry = math.ceil(settings.retry)
        again = self._retry > 0
        # at most once can only be promised by a single node
        self._how: tuple[bytes | int, ...] = (
            (b"RETRY", self._retry) if again else (b"REPLICATE", 1, b"RETRY", 0)
        )
        if not again:
            _log.warning(
                "retry is 0: disque hands out each message at most once, and what a worker that dies has"
                " taken is lost"
            )
        self.capabilities = Capabilities(
            receipts=again,
            extend=again,
            delay=True,
            counts_attempts=again,
            dead_letter=again,
            blocking=True,
            fenced=False,
            atomic=False,
            fixed_lease=True,
            bulk=BULK,
        )

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Add jobs, all in one go; if one is refused, those added are removed again."""
        self._add([(self._queue, Item(one.body), one.delay) for one in messages])

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Take jobs; an idle wait is a wait of the server's."""
        if limit <= 0:
            return ()
        deadline = time.monotonic() + wait
        while True:
            left = min(_LONGEST, deadline - time.monotonic())
            milliseconds = int(left * 1000)
            how: tuple[bytes | int, ...] = (b"TIMEOUT", milliseconds) if milliseconds > 0 else (b"NOHANG",)
            found = self._nodes.block(
                b"GETJOB", *how, b"COUNT", min(limit, BULK), b"WITHCOUNTERS", b"FROM", self._queue,
                seconds=max(0.0, left),
            )  # fmt: skip
            if found or time.monotonic() >= deadline:
                return [_delivery(job) for job in found or ()]

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases: what goes on is added anew first, so that nothing is lost in between."""
        if not self.capabilities.dead_letter and any(one.action is Action.BURY for one in settlements):
            raise NotSupported("with retry 0 disque hands out a message once: there is nothing to bury")
        jobs = {job: one for one in settlements if (job := _job(one.receipt))}
        again = {job: one for job, one in jobs.items() if one.action is not Action.ACK}
        leased = self._leased(again)
        # a lease that is given back is not counted, and nothing has to be noted: one step
        back = [job for job in leased if again[job].action is Action.RELEASE and again[job].delay <= 0]
        self._done(b"NACK", back)
        moved = {job: told for job, told in leased.items() if job not in back}
        self._add([self._moved(again[job], item, lease) for job, (item, lease) in moved.items()])
        self._done(self._ack, [job for job in jobs if job not in again or job in moved])

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Begin the time of leases anew; Disque takes no other time than the one a job was added with."""
        del seconds
        jobs = [job for receipt in receipts if (job := _job(receipt))]
        replies = self._nodes.many([(b"WORKING", job) for job in jobs])
        for reply in replies:
            if isinstance(reply, redis.ResponseError) and not str(reply).startswith(_ENDED):
                raise self._nodes.refused(reply)

    def size(self) -> QueueSize:
        """Count what is ready and what is buried; Disque does not count the rest."""
        ready, buried = self._all([(b"QLEN", self._queue), (b"QLEN", self._letters)])
        return QueueSize(ready=ready, buried=buried)

    def purge(self) -> int:
        """Remove what is ready or delayed, some hundreds at a time."""
        removed = 0
        for jobs in self._scan():
            waiting = [bytes(job[b"id"]) for job in jobs if _waits(job)]
            removed += self._done(b"DELJOB", waiting) if waiting else 0
        return removed

    # -- dead letters -------------------------------------------------------------------------

    def buried(self, limit: int = 100, after: str | None = None) -> Sequence[Buried]:
        """List dead letters in the order they were buried."""
        count = self._nodes.call(b"QLEN", self._letters)
        found = self._nodes.call(b"QPEEK", self._letters, max(1, count)) or []
        letters = sorted((_letter(job, body) for _, job, body in found), key=_age)
        if after is not None:
            names = [letter.id for letter in letters]
            letters = letters[names.index(after) + 1 :] if after in names else letters
        return letters[:limit]

    def requeue(self, ids: Sequence[str]) -> int:
        """Add dead letters anew, then remove them."""
        letters = self._dead(ids)
        self._add([(self._queue, Item(item.body), 0.0) for item in letters.values()])
        return self._done(b"DELJOB", list(letters)) if letters else 0

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters for good."""
        letters = self._dead(ids)
        return self._done(b"DELJOB", list(letters)) if letters else 0

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._nodes.call(b"PING")

    def identity(self) -> str | None:
        """Name the cluster and the queue, whichever of its nodes are given; None if none answers."""
        cluster = self._nodes.cluster()
        return f"disque:{cluster}#{self._queue.decode()}" if cluster else None

    def info(self) -> str:
        """Say which version, and where."""
        text: str = self._nodes.call(b"INFO", b"server").decode()
        told = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return f"Disque {told.get('disque_version', 'of unknown version')}, {self._nodes.title}"[:200]

    def close(self) -> None:
        """Let go of the connection."""
        self._nodes.close()

    # -- jobs ---------------------------------------------------------------------------------

    def _add(self, items: Sequence[tuple[bytes, Item, float]]) -> None:
        commands = [
            (b"ADDJOB", queue, item.write(), _COPIED, *_delayed(delay), *self._how, b"TTL", LIFE)
            for queue, item, delay in items
        ]
        replies = self._nodes.many(commands, _DOUBT)
        wrong = [reply for reply in replies if isinstance(reply, redis.ResponseError)]
        if wrong:
            self._done(b"DELJOB", [reply for reply in replies if isinstance(reply, bytes)])
            raise self._nodes.refused(wrong[0])

    def _done(self, verb: bytes, jobs: Sequence[bytes]) -> int:
        """Acknowledge or delete jobs; return how many were known."""
        return sum(self._nodes.call(verb, *jobs[start : start + BULK]) for start in range(0, len(jobs), BULK))

    def _all(self, commands: Sequence[tuple[bytes | str | float, ...]]) -> list[Any]:
        replies: list[Any] = self._nodes.many(commands)
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise self._nodes.refused(reply)
        return replies

    def _leased(self, jobs: Mapping[bytes, Settlement]) -> dict[bytes, tuple[Item, Lease]]:
        """Return what is written of those jobs whose lease is still the one settled."""
        found = {}
        replies = self._nodes.many([(b"SHOW", job) for job in jobs])
        for (job, one), reply in zip(jobs.items(), replies, strict=True):
            fields = _fields(reply)
            lease = Lease.of(job, fields)
            if fields.get(b"state") == b"active" and lease.receipt == one.receipt:
                found[job] = (Item.read(fields[b"body"]), lease)
        return found

    def _moved(self, one: Settlement, item: Item, lease: Lease) -> tuple[bytes, Item, float]:
        """Return what takes the place of a job."""
        before = item.deliveries + 1 + lease.additional
        if one.action is Action.RELEASE:
            return self._queue, item._replace(deliveries=before - 1), one.delay
        counted = item._replace(failures=one.failures, crashes=one.crashes, deliveries=before)
        if one.action is Action.RETRY:
            return self._queue, counted, one.delay
        return self._letters, counted._replace(buried_at=time.time(), reason=one.reason), 0.0

    def _dead(self, ids: Sequence[str]) -> dict[bytes, Item]:
        jobs = list(dict.fromkeys(job for text in ids if (job := _job(text.encode()))))
        found = {}
        for job, reply in zip(jobs, self._nodes.many([(b"SHOW", job) for job in jobs]), strict=True):
            fields = _fields(reply)
            if fields.get(b"queue") == self._letters and fields.get(b"state") == b"queued":
                found[job] = Item.read(fields[b"body"])
        return found

    def _scan(self) -> Iterator[list[dict[bytes, Any]]]:
        cursor: bytes | int = 0
        while True:
            cursor, jobs = self._nodes.call(
                b"JSCAN", cursor, b"COUNT", _SCAN, b"QUEUE", self._queue, b"REPLY", b"all"
            )
            yield [_fields(job) for job in jobs]
            if int(cursor) == 0:
                return


def _delayed(delay: float) -> tuple[bytes | int, ...]:
    # whole seconds, and never too early
    return (b"DELAY", math.ceil(delay)) if delay > 0 else ()


class Lease(NamedTuple):
    """One lease of a job: Disque counts how often it was given back and presented again."""

    job: bytes
    nacks: int = 0
    additional: int = 0

    @classmethod
    def of(cls, job: bytes, fields: Mapping[bytes, Any]) -> Lease:
        """Return the present lease of a job that is shown."""
        return cls(job, int(fields.get(b"nacks", -1)), int(fields.get(b"additional-deliveries", -1)))

    @property
    def receipt(self) -> bytes:
        """Return what names it."""
        return b"%s:%d:%d" % self


def _delivery(job: list[Any]) -> Delivery:
    _, id_, body, _, nacks, _, additional = job
    item, lease = Item.read(body), Lease(id_, int(nacks), int(additional))
    deliveries = item.deliveries + 1 + lease.additional
    return Delivery(item.body, lease.receipt, deliveries, item.failures, item.crashes)


def _job(receipt: bytes) -> bytes:
    """Return the job a receipt or an id names, b"" if it is none: the server refuses what is no id."""
    job = receipt.partition(b":")[0]
    return job if job.startswith(b"D-") and len(job) == 40 and job.isascii() else b""


def _fields(reply: Any) -> dict[bytes, Any]:  # noqa: ANN401 - what SHOW says: a list, nothing or an error
    return dict(zip(reply[::2], reply[1::2], strict=True)) if isinstance(reply, list) else {}


def _waits(job: dict[bytes, Any]) -> bool:
    """Return whether a job is ready or delayed; one that is leased is active as a delayed one is."""
    if job[b"state"] == b"queued":
        return True
    born, delay = int(job[b"ctime"]) / 1e9, int(job[b"delay"])
    return job[b"state"] == b"active" and delay > 0 and time.time() < born + delay


def _letter(job: bytes, body: bytes) -> Buried:
    item = Item.read(body)
    return Buried(job.decode(), item.body, item.reason, item.buried_at, item.failures, item.crashes)


def _age(letter: Buried) -> float:
    return letter.buried_at
