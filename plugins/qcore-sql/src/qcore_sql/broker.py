"""Decides how messages are enqueued, leased and settled."""

from __future__ import annotations

import os
import time
import weakref
from typing import TYPE_CHECKING, Any

from qcore.errors import BackendUnavailable
from qcore.interfaces import Broker, Capabilities
from qcore_sql import cluster_status, dead_letters, messages, search
from qcore_sql.database import Database
from qcore_sql.ended import Ended
from qcore_sql.notify import channel, notify, put_and_notify
from qcore_sql.results import SqlResults, save
from qcore_sql.server import read_time
from qcore_sql.task_transaction import TaskTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sqlalchemy import Connection

    from qcore.interfaces import ResultStore, Settings
    from qcore.model import DeadLetter, Delivery, Outgoing, QueueSize, Settlement, StoredResult
    from qcore_sql.backend import Listens
    from qcore_sql.session import Session

#: most messages in one lease
MAX_BATCH = 1000
#: messages that `purge` removes in one transaction
_PURGED = 5000
#: seconds after which an idle worker looks at the queue without being notified
_LOOK = 5.0


class SqlBroker(Broker):
    """A queue in tables of a database; it wakes idle workers by a notification."""

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self._database = database or Database(settings)
        self._queue = settings.name
        self._retry = settings.retry
        #: seconds after which an idle worker looks at the queue
        self._look = _LOOK if self._database.wakes else settings.poll
        self._owner = messages.owner_number(settings.owner)
        #: None = nothing is remembered
        self._ended = Ended.where_wanted(settings)
        self._task_transaction = TaskTransaction(self._database, self._ended)
        self._listener: Listens | None = None
        self._stop_listening: Callable[[], object] | None = None
        self.capabilities = Capabilities(
            redelivers=True,
            extend=True,
            delay=True,
            stores_counters=True,
            dead_letters=True,
            long_poll=self._database.wakes,
            max_batch=MAX_BATCH,
            cluster_status=True,
            remove_messages=True,
            remembers_ended=True,
            joins_transactions=True,
            settles_in_transactions=True,
            transaction_domain=self._database.transaction_domain,
        )

    @property
    def database(self) -> Database:
        """The tables of the queue."""
        return self._database

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept all messages in one transaction; a single statement if none is delayed."""
        if not messages:
            return
        if any(message.delay > 0 for message in messages):
            self._database.write(put_and_notify, self._queue, messages)
        else:
            self._database.brief(put_and_notify, self._queue, messages)

    def enqueue_on(self, connection: Any, messages: Sequence[Outgoing]) -> None:  # noqa: ANN401 - of any library
        """Accept messages as part of the transaction of a connection of SQLAlchemy or of the driver."""
        with self._database.joined(connection) as session:
            if messages:
                put_and_notify(session, self._queue, messages)

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Lease messages; an idle worker is woken by a notification."""
        try:
            return self._lease(limit, time.monotonic() + wait)
        except BackendUnavailable:
            # the connection that is notified may lead to a server that nobody writes to any more
            self._ignore()
            raise

    def _lease(self, limit: int, deadline: float) -> Sequence[Delivery]:
        while limit > 0:
            if deliveries := self._database.brief(self._claim, limit):
                return deliveries
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            if self._database.wakes and self._listener is None:
                self._listen()
                # what was enqueued before it listened is visible now
                continue
            self._wait(min(remaining, self._look, self._database.read(_seconds_to_next, self._queue)))
        return ()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases in one transaction."""
        if settlements:
            self._database.write(self._settle, settlements)

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Do everything in one transaction, except saving results to a store of another database."""
        if results and store is not None:
            if not (
                isinstance(store, SqlResults)
                and store.transaction_domain == self.capabilities.transaction_domain
            ):
                store.save(results)
                results = ()
        else:
            results = ()
        if not (results or settlements or then):
            return self.lease(limit, 0.0) if limit else ()
        return self._database.write(self._commit_and_lease, results, then, settlements, limit)

    def begin_transaction(self, receipt: bytes) -> Connection:
        """Begin a transaction on a connection of SQLAlchemy for the task of a leased message."""
        return self._task_transaction.begin(receipt)

    def commit_transaction(
        self, store: ResultStore, results: Sequence[StoredResult], settlement: Settlement
    ) -> bool:
        """Settle a message and save its results in the transaction of its task."""
        del store
        return self._task_transaction.commit(results, settlement)

    def rollback_transaction(self) -> None:
        """Roll back the transaction of a task."""
        self._task_transaction.roll_back()

    def ended(self, ids: Sequence[bytes]) -> Collection[bytes]:
        """Return the ids of messages that have ended."""
        return self._database.read(self._ended.find, self._queue, ids) if self._ended and ids else ()

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Let leases end `seconds` from now."""
        if receipts:
            self._database.write(messages.extend, receipts, seconds)

    def release_owner(self, owner: bytes) -> int:
        """Release the messages that a dead process had leased; return how many."""
        if not owner:
            return 0
        return self._database.write(self._release_owner, messages.owner_number(owner))

    def size(self) -> QueueSize:
        """Count the messages by state."""
        return self._database.read(messages.size, self._queue)

    def peek(self) -> bytes | None:
        """Read the message that has been due for longest."""
        return self._database.read(messages.first, self._queue)

    def purge(self) -> int:
        """Remove ready and delayed messages; return how many."""
        last, purged = self._database.read(search.last, self._queue), 0
        while some := self._database.write(search.purge, self._queue, last, _PURGED):
            purged += some
        return purged

    def clear(self) -> int:
        """Remove every message, leased ones too, and every status; return how many messages."""
        return self._database.write(_clear, self._queue)

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """Return dead letters in the order in which they were dead-lettered."""
        return self._database.read(dead_letters.listed, self._queue, limit, after)

    def key_ids(self) -> Mapping[bytes, int]:
        """Count messages, except dead letters, by the key that signed them."""
        return self._database.read(search.key_ids, self._queue)

    def replace_dead_letter(self, id: str, body: bytes) -> bool:
        """Give a dead letter another body."""
        return self._database.single(dead_letters.replace, self._queue, id, body)

    def requeue(self, ids: Sequence[str]) -> int:
        """Make dead letters ready again; return how many."""
        return self._database.write(dead_letters.requeue, self._queue, ids)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters; return how many."""
        return self._database.single(dead_letters.delete_letters, self._queue, ids)

    def ping(self) -> None:
        """Ask the server for its time."""
        self._database.read(read_time)

    def info(self) -> str:
        """Return what the server is, its version and its address."""
        return self._database.info()

    def queue_id(self) -> str:
        """Return the random name of the database with the queue's."""
        return self._database.name()

    def server_time(self) -> float:
        """Return the time that the server's clock shows."""
        return self._database.read(read_time)

    def close(self) -> None:
        """Close the connections."""
        self._ignore()
        self._task_transaction.close()
        self._database.close()

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Remove messages that are not leased."""
        return self._database.write(search.remove_messages, self._queue, ids) if ids else ()

    def find_messages(self, ids: Sequence[bytes]) -> Sequence[bytes] | None:
        """Find messages in any state by reading the queue."""
        return self._database.read(search.find_messages, self._queue, ids)

    def publish_status(self, cluster: str, body: bytes, ttl: float) -> None:
        """Store a status for `ttl` seconds, and delete those that have expired."""
        self._database.write(cluster_status.publish, self._queue, cluster, body, ttl)

    def statuses(self) -> Sequence[bytes]:
        """Return the statuses that have not expired."""
        return self._database.read(cluster_status.listed, self._queue)

    # -- transactions -----------------------------------------------------------------------

    def _claim(self, session: Session, limit: int) -> list[Delivery]:
        return messages.claim(session, self._queue, self._owner, min(limit, MAX_BATCH), self._retry)

    def _settle(self, session: Session, settlements: Sequence[Settlement]) -> None:
        if self._ended is not None:
            self._ended.add(session, self._queue, settlements)
        if messages.settle(session, settlements):
            notify(session, self._queue)

    def _commit_and_lease(
        self,
        session: Session,
        results: Sequence[StoredResult],
        then: Sequence[Outgoing],
        settlements: Sequence[Settlement],
        limit: int,
    ) -> Sequence[Delivery]:
        if results:
            save(session, self._queue, results)
        others_needed = bool(then) and messages.put(session, self._queue, then)
        if settlements:
            if self._ended is not None:
                self._ended.add(session, self._queue, settlements)
            others_needed = messages.settle(session, settlements) or others_needed
        deliveries = self._claim(session, limit) if limit else ()
        # a lease of fewer messages than `limit` took everything that was ready
        if others_needed and len(deliveries) >= limit:
            notify(session, self._queue)
        return deliveries

    def _release_owner(self, session: Session, owner: int) -> int:
        count = messages.release_owner(session, self._queue, owner)
        if count:
            notify(session, self._queue)
        return count

    # -- waiting ----------------------------------------------------------------------------

    def _listen(self) -> None:
        listener = self._database.listen(channel(self._queue))
        self._listener = listener
        self._stop_listening = weakref.finalize(self, _close_unless_forked, listener, os.getpid())

    def _wait(self, seconds: float) -> None:
        if self._listener is None:
            time.sleep(seconds)
            return
        self._database.wait(self._listener, seconds)

    def _ignore(self) -> None:
        """Close the connection that is notified."""
        self._listener = None
        if self._stop_listening is not None:
            self._stop_listening()


def _close_unless_forked(listener: Listens, pid: int) -> None:
    if pid == os.getpid():
        listener.close()


def _seconds_to_next(session: Session, queue: str) -> float:
    found = session.one(messages.NEXT, queue=queue)
    # a time that is not a number sorts behind all others
    return max(0.0, found[0]) if found and found[0] < float("inf") else float("inf")


def _clear(session: Session, queue: str) -> int:
    count = session.run(messages.CLEAR, queue=queue) + session.run(dead_letters.CLEAR, queue=queue)
    session.run(cluster_status.CLEAR, queue=queue)
    return count
