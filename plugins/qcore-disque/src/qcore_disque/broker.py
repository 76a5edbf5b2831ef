"""Decides how a queue lives in Disque."""

from __future__ import annotations

import logging
import math
import re
import time
from typing import TYPE_CHECKING, Any, Final

import redis

from qcore.errors import BackendError, ConfigError, NotSupported
from qcore.interfaces import Broker, Capabilities
from qcore.model import Action, QueueSize
from qcore_disque import error_mapping
from qcore_disque.copies import Copies
from qcore_disque.dead_letters import DeadLetters, dead_letters_of
from qcore_disque.lease import Lease, job_of
from qcore_disque.leasing import jobs_of
from qcore_disque.looking import Looker
from qcore_disque.nodes import Nodes
from qcore_disque.replies import bytes_of, count, delivery, taken
from qcore_plugin_support import CountedMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Settings, Waiting
    from qcore.model import DeadLetter, Delivery, Outgoing, Settlement
    from qcore_disque.copies import Copy
    from qcore_disque.node import Node
    from qcore_disque.replies import WaitingJob

_log = logging.getLogger("qcore_disque.broker")

#: messages in one call at most
BULK: Final = 1000
#: seconds a job lives; the id of a job has room for this many minutes, and Disque forgets it then
LIFE: Final = 65_000 * 60
#: milliseconds the nodes may take to have copies of a job
_COPIED: Final = 3000
#: the settings by which there are queues, see `DisqueQueues`
DECLARED_BY: Final = "disque_queues and disque_priorities"
#: reported when the answer to ADDJOB is lost
_UNKNOWN_OUTCOME: Final = "the messages may have been accepted nevertheless"
#: times all nodes are looked through for what moved from one to another meanwhile
_PASSES: Final = 10
#: nodes that keep a copy of a job, where nobody says otherwise; fewer if there are not as many
_COPIES: Final = 2
_MOST_COPIES: Final = 65_535
#: what WORKING says of a lease that has ended, or of a job beyond half of its life
_ENDED: Final = ("NOJOB", "TOOLATE", "BADID", "ACKED")
#: part of its lease that a job may have spent on its queue; Disque counts from when it was queued
_SPENT: Final = 0.25


class DisqueBroker(Broker):
    """A queue of a Disque cluster.

    Disque redelivers a job `retry` seconds after it was handed out, as its producer has
    asked; `WORKING` begins that time anew. With `retry` 0 a job is handed out at most once.
    """

    def __init__(self, settings: Settings, nodes: Nodes | None = None) -> None:
        #: the name of the queue
        self.queue = settings.name.encode()
        self._dead_letters = dead_letters_of(self.queue)
        self._nodes = nodes or Nodes.of(settings)
        self._ack = b"FASTACK" if settings.section("disque_fastack") else b"ACKJOB"
        #: whole seconds: Disque counts no finer
        self._retry = math.ceil(settings.retry)
        again = self._retry > 0
        self._copies = Copies(self._nodes)
        self._looker = Looker(self._nodes, self.queue)
        self._dead = DeadLetters(self._nodes, self._copies, self._dead_letters)
        # at most once can only be promised by a single node
        wanted: int | None = settings.section("disque_replicate")
        most = _MOST_COPIES if again else 1
        if wanted is not None and not 1 <= wanted <= most:
            why = "the copies of each job" if again else "for retry is 0, and a second copy could run too"
            raise ConfigError([f"disque_replicate: got {wanted}; must be 1 to {most}, {why}"])
        self._kept = wanted if again else 1
        if not again:
            _log.warning(
                "retry is 0: disque hands out each message at most once, and what a worker that dies has"
                " taken is lost"
            )
        self.capabilities = Capabilities(
            redelivers=again,
            extend=again,
            delay=True,
            stores_counters=again,
            dead_letters=again,
            long_poll=True,
            fencing=False,
            atomic_settle=False,
            fixed_lease=True,
            max_batch=BULK,
            declared_by=DECLARED_BY,
        )

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Add jobs, all in one go; if one is refused, those added are removed again."""
        items = [(self.queue, CountedMessage(one.body), one.delay) for one in messages]
        self._add(items, [one.id for one in messages])

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Take jobs; an idle wait is a wait of the server's."""
        return self.handed_out(jobs_of(self._nodes, [self.queue], min(limit, BULK), wait))

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases: what goes on is added anew first, so that nothing is lost in between."""
        if not self.capabilities.dead_letters and any(
            one.action is Action.DEAD_LETTER for one in settlements
        ):
            raise NotSupported("with retry 0 disque hands out a message once and keeps no dead letters")
        wanted = {lease.job: (lease, one) for one in settlements if (lease := Lease.read(one.receipt))}
        again = [lease for lease, one in wanted.values() if one.action is not Action.ACK]
        copies = self._copies.leased(again)
        self._warn_unknown([lease for lease in again if lease.job not in copies])
        # a lease that is given back is not counted, and nothing has to be noted: one step
        back = {
            job for job in copies if wanted[job][1].action is Action.RELEASE and wanted[job][1].delay <= 0
        }
        self._end([Lease(job, copies[job].node.prefix) for job in back], b"NACK")
        moved = {job: copy for job, copy in copies.items() if job not in back}
        self._add([self._moved(wanted[job][1], copy, wanted[job][0]) for job, copy in moved.items()])
        done = [lease for lease, one in wanted.values() if one.action is Action.ACK or lease.job in moved]
        self._end(done, self._ack)

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Begin the time of leases anew; Disque takes no other time than the one a job was added with."""
        del seconds
        leases = [lease for receipt in receipts if (lease := Lease.read(receipt))]
        for reply in self._copies.work_on(leases):
            if not str(reply).startswith(_ENDED):
                raise self._nodes.refused(reply)

    def size(self) -> QueueSize:
        """Count ready messages and dead letters on all nodes; Disque does not count the rest."""
        ready = dead_letters = 0
        for node in self._nodes.every():
            replies = self._nodes.ask(node, [(b"QLEN", self.queue), (b"QLEN", self._dead_letters)])
            ready, dead_letters = (
                before + count(reply, node.title)
                for before, reply in zip((ready, dead_letters), replies or (0, 0), strict=True)
            )
        return QueueSize(ready=ready, dead_letters=dead_letters)

    def purge(self) -> int:
        """Remove what is ready or delayed from all nodes, until none has anything left."""
        return self._take_out(lambda _: None)

    def peek(self) -> bytes | None:
        """Show the ready job that was added first."""
        return self._looker.oldest()

    def waiting(self, limit: int, queue: str | None = None) -> Sequence[Waiting]:
        """Show what is ready, and then what is delayed."""
        del queue
        return self._looker.waiting(limit)

    def move_to(self, queue: bytes) -> int:
        """Add what is ready or delayed to another queue, with its counters, then remove it from this one."""

        def add(jobs: Sequence[WaitingJob]) -> None:
            self._add([(queue, job.item, job.delay) for job in jobs])

        return self._take_out(add)

    def _take_out(self, before: Callable[[Sequence[WaitingJob]], None]) -> int:
        """Remove what is ready or delayed from all nodes, until none has anything left; return how many."""
        removed: set[bytes] = set()
        self._nodes.look_again()
        for _ in range(_PASSES):
            jobs = self._looker.jobs(removed)
            for start in range(0, len(jobs), BULK):
                some = jobs[start : start + BULK]
                before(some)
                # unlike DELJOB, which means one node, it reaches those that are away once they are back
                self._nodes.call(b"ACKJOB", *(job.id for job in some))
                removed.update(job.id for job in some)
            if not jobs:
                break
        return len(removed)

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """List the dead letters of all nodes in the order they died."""
        return self._dead.listed(limit, after)

    def requeue(self, ids: Sequence[str]) -> int:
        """Add dead letters anew, then remove them."""
        letters = self._dead.find(ids)
        self._add([(self.queue, CountedMessage(copy.item.body), 0.0) for copy in letters.values()])
        return self._remove(letters)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters for good."""
        return self._remove(self._dead.find(ids))

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._nodes.call(b"PING")

    def queue_id(self) -> str | None:
        """Name the cluster and the queue, whichever of its nodes are given; None if none answers."""
        cluster = self._nodes.cluster()
        return f"disque:{cluster}#{self.queue.decode()}" if cluster else None

    def info(self) -> str:
        """Say which version, and where."""
        found = re.search(rb"disque_version:([!-~]{1,40})", bytes_of(self._nodes.call(b"INFO", b"server")))
        version = found[1].decode() if found else "of unknown version"
        return f"Disque {version}, {self._nodes.title}"[:200]

    def close(self) -> None:
        """Let go of the connection."""
        self._nodes.close()

    def _add(self, items: Sequence[tuple[bytes, CountedMessage, float]], ids: Sequence[bytes] = ()) -> None:
        if not items:
            return
        how = (b"REPLICATE", self._replicas(), b"RETRY", self._retry, b"TTL", LIFE)
        commands = [
            (b"ADDJOB", queue, item._replace(written_at=time.time()).write(), _COPIED, *_delayed(delay), *how)
            for queue, item, delay in items
        ]
        replies = self._nodes.many(commands, _UNKNOWN_OUTCOME)
        added = [Lease(reply) for reply in replies if isinstance(reply, bytes) and job_of(reply)]
        if len(added) < len(items):
            wrong = [reply for reply in replies if isinstance(reply, redis.ResponseError)]
            failed = None
            try:
                # each node with a copy would hand it out in its time: all of them have to learn of it
                self._end(added, b"ACKJOB")
            except BackendError as exc:
                failed = exc
            strange = error_mapping.stranger(self._nodes.connected_to, "ADDJOB returned no id")
            error = self._nodes.refused(wrong[0]) if wrong else strange
            if failed is not None:
                jobs = {lease.job for lease in added}
                error.accepted = [id for id, job in zip(ids, replies, strict=False) if job in jobs]
                error.add_note(f"jobs that were added before and cannot be removed: {len(added)}: {failed}")
            raise error

    def _replicas(self) -> int:
        """Return how many nodes have to have a copy of a job before it counts as added."""
        return self._kept or min(_COPIES, len(self._nodes.ids()))

    def _end(self, leases: Sequence[Lease], verb: bytes) -> int:
        """Acknowledge jobs or give them back, on the nodes of their leases; return how many were known."""
        known = 0
        for node, some in self._copies.by_node(leases):
            for start in range(0, len(some), BULK):
                command = (verb, *(lease.job for lease in some[start : start + BULK]))
                known += count(*self._first(node, *command))
        return known

    def _first(self, node: Node, *words: bytes) -> tuple[Any, str]:
        """Return a node's reply and where it came from; if it is lost meanwhile, another is asked."""
        for reply in self._nodes.ask(node, [words]):
            return reply, node.title
        return self._nodes.call(*words), self._nodes.connected_to

    def handed_out(self, found: Sequence[Any]) -> list[Delivery]:
        """Return what was leased; what has spent much of its time on the queue begins it anew."""
        deliveries, old, strange = [], [], []
        for job in found:
            one = taken(job, self._nodes.prefix)
            if one is None:
                strange.append(job)
                continue
            lease, item = one
            deliveries.append(delivery(lease, item))
            if not 0 <= time.time() - item.written_at < self._retry * _SPENT:
                old.append(lease)
        if strange:
            what = "jobs that cannot be read are ignored: %d, at %s; the first is %.200r"
            _log.error(what, len(strange), self._nodes.connected_to, strange[0])
        if old and self._retry:
            try:
                self._copies.work_on(old)
            except BackendError as exc:
                # they are leased all the same, and may be worked on
                _log.warning("leases that may end sooner than they should: %d: %s", len(old), exc)
        return deliveries

    def _warn_unknown(self, leases: Sequence[Lease]) -> None:
        """Warn of leases that may not have ended: nodes that could know of them do not answer."""
        if leases and (absent := self._nodes.absent()):
            _log.warning(
                "messages redelivered without counting this run, if a node that does not answer has them"
                " (%s): %d",
                ", ".join(absent),
                len(leases),
            )

    def _moved(self, one: Settlement, copy: Copy, lease: Lease) -> tuple[bytes, CountedMessage, float]:
        """Return what takes the place of a job."""
        item = copy.item
        before = item.deliveries + 1 + max(lease.additional, copy.additional)
        if one.action is Action.RELEASE:
            return self.queue, item._replace(deliveries=before - 1), one.delay
        counted = item._replace(failures=one.failures, crashes=one.crashes, deliveries=before)
        if one.action is Action.RETRY:
            return self.queue, counted, one.delay
        return self._dead_letters, counted._replace(reason=one.reason), 0.0

    def _remove(self, letters: dict[bytes, Copy]) -> int:
        return self._end([Lease(job, copy.node.prefix) for job, copy in letters.items()], b"ACKJOB")


def _delayed(delay: float) -> tuple[bytes | int, ...]:
    # whole seconds, and never too early
    return (b"DELAY", math.ceil(delay)) if delay > 0 else ()
