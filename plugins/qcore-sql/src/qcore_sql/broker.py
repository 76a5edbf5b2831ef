"""Decides how messages are enqueued, leased and settled."""

from __future__ import annotations

import os
import time
import weakref
from typing import TYPE_CHECKING, Any

from qcore.errors import BackendUnavailable
from qcore.interfaces import Capabilities
from qcore_sql import messages
from qcore_sql.claims import Claims
from qcore_sql.database import Database
from qcore_sql.ended import Ended
from qcore_sql.messages import is_plain
from qcore_sql.notify import channel, notify, put_and_notify
from qcore_sql.operations import SqlOperations
from qcore_sql.results import SqlResults, save
from qcore_sql.task_transaction import TaskTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from qcore.interfaces import ResultStore, Settings
    from qcore.model import Delivery, Outgoing, Settlement, StoredResult
    from qcore_sql.backend import Listens
    from qcore_sql.session import Session

#: most messages in one lease
MAX_BATCH = 1000
#: messages that `purge` removes in one transaction
_PURGED = 5000
#: seconds after which an idle worker looks at the queue without being notified
_LOOK = 5.0


class SqlBroker(SqlOperations):
    """A queue in tables of a database; it wakes idle workers by a notification."""

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self._database = database or Database(settings)
        self._queue = settings.name
        #: seconds after which an idle worker looks at the queue
        self._look = _LOOK if self._database.wakes else settings.poll
        self._claims = Claims(
            self._queue, messages.owner_number(settings.owner), settings.retry, settings.queues
        )
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
            queues=True,
            transaction_domain=self._database.transaction_domain,
        )

    @property
    def database(self) -> Database:
        """The tables of the queue."""
        return self._database

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept all messages in one transaction; a single statement if all are plain."""
        if not messages:
            return
        once = self._database.brief if all(map(is_plain, messages)) else self._database.write
        once(put_and_notify, self._queue, messages)

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
            if deliveries := self._database.brief(self._claims.take, min(limit, MAX_BATCH)):
                return deliveries
            wait = self._database.read(self._claims.wait)
            if wait is None:
                continue
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            if self._database.wakes and self._listener is None:
                self._listen()
                # what was enqueued before it listened is visible now
                continue
            self._wait(min(remaining, self._look, wait))
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

    def lend_transaction(self) -> AbstractContextManager[Connection]:
        """Lend a connection of SQLAlchemy with a transaction that is committed with the end of the block."""
        return self._task_transaction.alone()

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

    def close(self) -> None:
        """Close the connections."""
        self._ignore()
        self._task_transaction.close()
        self._database.close()

    # -- transactions -----------------------------------------------------------------------

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
        deliveries = self._claims.take(session, min(limit, MAX_BATCH)) if limit else ()
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
