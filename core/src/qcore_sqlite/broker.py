"""Decides which messages are ready, leased, delayed or dead-lettered."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from qcore.interfaces import Broker, Capabilities
from qcore_sqlite import cluster_status, counts, dead_letters, garbage, leases, queues, streams
from qcore_sqlite.claims import Claim
from qcore_sqlite.database import Database
from qcore_sqlite.ended import Ended
from qcore_sqlite.next_message import seconds_to_next
from qcore_sqlite.putting import ENQUEUE, is_plain, put
from qcore_sqlite.results import SqliteResults, save

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from qcore.interfaces import QueueState, ResultStore, Settings, Waiting
    from qcore.model import (
        DeadLetter,
        Delivery,
        Outgoing,
        QueueSize,
        Settlement,
        StoredResult,
    )

#: most messages in one transaction, so that other processes wait a few milliseconds for the lock at most
MAX_BATCH = 1000

#: seconds between two searches: for expired leases while there is other work, for rows that are not ours
#: while a worker waits
_EXPIRE = _GARBAGE = 1.0


def make_broker(settings: Settings) -> SqliteBroker:
    """Open the queue named by the settings."""
    return SqliteBroker(settings)


class SqliteBroker(Broker):
    """A queue in a file, for any number of processes of one machine."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings)
        self._retry = settings.retry
        self._owner = leases.owner_number(settings.owner)
        #: None = all queues
        self._order = settings.queues
        #: None = nothing is remembered
        self._ended = Ended.where_wanted(settings)
        #: epoch seconds; from then on expired leases are looked for even if there is other work
        self._expire_at = 0.0
        #: monotonic seconds, see `garbage`
        self._look_for_garbage_at = 0.0
        self.capabilities = Capabilities(
            redelivers=True,
            extend=True,
            delay=True,
            stores_counters=True,
            dead_letters=True,
            long_poll=True,
            max_batch=MAX_BATCH,
            cluster_status=True,
            remove_messages=True,
            remembers_ended=True,
            queues=True,
            transaction_domain=self._database.transaction_domain,
        )

    def after_fork(self, owner: bytes) -> bool:
        """Lease for another owner."""
        self._owner = leases.owner_number(owner)
        self._database.begin_anew()
        return True

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept all messages in one transaction."""
        if not messages:
            return
        if len(messages) == 1 and is_plain(messages[0]):
            self._database.insert(ENQUEUE, (messages[0].body,), self._database.work_added.notify)
        else:
            self._database.write(put, messages)
            self._database.work_added.notify()

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Lease messages; waiting for one neither writes to the file nor takes processor time."""
        deadline = time.monotonic() + wait
        order = self._next_order()
        while limit > 0:
            if time.monotonic() >= self._look_for_garbage_at:
                self._look_for_garbage_at = time.monotonic() + _GARBAGE
                if self._database.read(garbage.found, time.time()):
                    self._database.write(garbage.set_aside, time.time())
            pause = self._database.read(seconds_to_next, order)
            if pause <= 0:
                self._expire_at = 0.0
                if deliveries := self._database.write(self._claim, limit, order):
                    return deliveries
            if (remaining := deadline - time.monotonic()) <= 0:
                break
            woken = self._database.wait_for_work(min(remaining, pause))
            # One message, often, and several workers woke: the others look whether there is more.
            if woken and (first := self._database.write_unless_locked(self._claim, limit, order)):
                return first
        return ()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases in one transaction."""
        if not settlements:
            return
        if self._database.write(self._settle, settlements):
            self._database.work_added.notify()

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Do everything in one transaction, except saving results to a store of another kind or file."""
        if results and store is not None:
            if not (
                isinstance(store, SqliteResults)
                and store.transaction_domain == self._database.transaction_domain
            ):
                store.save(results)
                results = ()
        else:
            results = ()
        if not (results or settlements or then):
            return self.lease(limit, 0.0) if limit else ()
        deliveries, others_needed = self._database.write(
            self._commit_and_lease, results, then, settlements, limit
        )
        if results:
            self._database.result_saved.notify()
        if others_needed:
            self._database.work_added.notify()
        return deliveries

    def ended(self, ids: Sequence[bytes]) -> Collection[bytes]:
        """Return the ids of messages that have ended; most batches need no look into the file."""
        if self._ended is None:
            return ()
        suspects = self._ended.suspects(ids)
        return self._database.read(self._ended.find, suspects) if suspects else ()

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Let leases end `seconds` from now."""
        if receipts:
            self._database.write(leases.extend, receipts, time.time() + seconds)

    def release_owner(self, owner: bytes) -> int:
        """Release the messages that a dead process had leased; return how many."""
        if not owner:
            return 0
        count = self._database.write(leases.release_owner, leases.owner_number(owner))
        if count:
            self._database.work_added.notify()
        return count

    def size(self) -> QueueSize:
        """Count the messages by state; ready messages are not counted one by one."""
        return self._database.read(counts.size)

    def peek(self) -> bytes | None:
        """Read the message that is first in the queue."""
        return self._database.read(counts.first)

    def purge(self) -> int:
        """Remove ready and delayed messages; return how many."""
        return self._database.write(counts.purge)

    def clear(self) -> int:
        """Remove every message, leased ones too, and every status; return how many messages."""
        return self._database.write(counts.clear)

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """Return dead letters in the order in which they were dead-lettered."""
        return self._database.read(dead_letters.listed, limit, after)

    def key_ids(self) -> Mapping[bytes, int]:
        """Count messages, except dead letters, by the key that signed them."""
        return self._database.read(counts.key_ids)

    def replace_dead_letter(self, id: str, body: bytes) -> bool:
        """Give a dead letter another body."""
        return self._database.write(dead_letters.replace, id, body)

    def requeue(self, ids: Sequence[str]) -> int:
        """Make dead letters ready again; return how many."""
        count = self._database.write(dead_letters.requeue, ids)
        if count:
            self._database.work_added.notify()
        return count

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters; return how many."""
        return self._database.write(dead_letters.delete, ids)

    def ping(self) -> None:
        """Read from the file."""
        self._database.read(counts.size)

    def info(self) -> str:
        """Return the version of SQLite and the path of the file."""
        return f"SQLite {sqlite3.sqlite_version}, {self._database.path}"

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Remove messages that are not leased, `MAX_BATCH` in one transaction; finding them takes no lock."""
        if not ids:
            return ()
        self._database.write(leases.expire, time.time())
        found = self._database.read(counts.find, ids)
        return [
            body
            for start in range(0, len(found), MAX_BATCH)
            for body in self._database.write(counts.remove_messages, found[start : start + MAX_BATCH])
        ]

    def find_messages(self, ids: Sequence[bytes]) -> Sequence[bytes] | None:
        """Find messages in any state by reading the file, which blocks no other process."""
        return self._database.read(counts.present, ids)

    def queues(self) -> Sequence[QueueState]:
        """Return the queues that have messages or are paused."""
        return self._database.read(queues.listed)

    def pause_queue(self, queue: str, *, paused: bool) -> None:
        """Have no messages of a queue leased, or have them leased again."""
        self._database.write(queues.pause, queue, paused)
        self._database.work_added.notify()

    def is_queue_paused(self, queue: str) -> bool:
        """Tell whether a queue is paused."""
        return queue in self._database.read(streams.paused)

    def purge_queue(self, queue: str) -> int:
        """Remove the messages of a queue that are not leased."""
        return self._database.write(queues.purge, queue)

    def move_queue(self, source: str, target: str) -> int:
        """Put the messages of a queue that are not leased into another."""
        moved = self._database.write(queues.move, source, target)
        self._database.work_added.notify()
        return moved

    def waiting(self, limit: int, queue: str | None = None) -> Sequence[Waiting] | None:
        """Return messages that are not leased, those that are leased first in front."""
        return self._database.read(queues.waiting, limit, queue)

    def publish_status(self, cluster: str, body: bytes, ttl: float) -> None:
        """Store a status for `ttl` seconds, and delete those that have expired."""
        self._database.write(cluster_status.publish, cluster, body, time.time() + ttl)

    def statuses(self) -> Sequence[bytes]:
        """Return the statuses that have not expired."""
        return self._database.read(cluster_status.listed)

    def _commit_and_lease(
        self,
        connection: sqlite3.Connection,
        results: Sequence[StoredResult],
        then: Sequence[Outgoing],
        settlements: Sequence[Settlement],
        limit: int,
    ) -> tuple[Sequence[Delivery], bool]:
        """Return the leased messages, and whether to wake other processes for those left in the queue."""
        if results:
            save(connection, results)
        if then:
            put(connection, then)
        high_known = self._ended is not None and self._ended.add(connection, settlements)
        others_needed = bool(settlements) and leases.settle(connection, settlements, time.time())
        deliveries = (
            self._claim(connection, limit, self._next_order(), high_known=high_known) if limit else ()
        )
        if then and not others_needed:
            # a lease of fewer messages than `limit` took everything that was ready, of its own queues
            others_needed = (
                len(deliveries) >= limit or self._order is not None or not all(map(is_plain, then))
            )
        return deliveries, others_needed

    def _claim(
        self,
        connection: sqlite3.Connection,
        limit: int,
        order: Sequence[str] | None,
        *,
        high_known: bool = False,
    ) -> list[Delivery]:
        now = time.time()
        if now >= self._expire_at:
            leases.expire(connection, now)
            self._expire_at = now + _EXPIRE
        claim = Claim(connection, leases.new_token(self._owner), now, now + self._retry)
        deliveries = claim.take(limit, order)
        if deliveries and self._ended is not None and not high_known:
            self._ended.read_high(connection)
        return deliveries

    def _next_order(self) -> Sequence[str] | None:
        return None if self._order is None else self._order.next()

    def _settle(self, connection: sqlite3.Connection, settlements: Sequence[Settlement]) -> bool:
        if self._ended is not None:
            self._ended.add(connection, settlements)
        return leases.settle(connection, settlements, time.time())
