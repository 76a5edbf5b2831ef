"""Decides how messages are leased and settled in MongoDB."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import pymongo

from qcore.errors import BackendError
from qcore.interfaces import Capabilities
from qcore_mongo import leases, messages, pending
from qcore_mongo.claims import Claims
from qcore_mongo.client import CLOSE_TIMEOUT, Client
from qcore_mongo.ended import Ended
from qcore_mongo.indexes import Kind
from qcore_mongo.operations import MongoOperations
from qcore_mongo.registry import Registry
from qcore_mongo.routes import is_routed
from qcore_mongo.wakeup import Waker
from qcore_plugin_support import call_limit

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qcore.interfaces import Settings
    from qcore.model import Delivery, Outgoing, Settlement

_log = logging.getLogger("qcore_mongo.broker")

#: most messages in one call
MAX_BATCH: Final = 1000
#: seconds between searches for unfinished slots of schedules, while a worker is idle
PENDING_INTERVAL: Final = 1.0
#: seconds between searches for messages with a queue or a priority where there is no registry, as above
RESTORE_INTERVAL: Final = 60.0


@call_limit.each_call(lambda made: made.timeout)
class MongoBroker(MongoOperations):
    """A queue in MongoDB, for any number of machines."""

    def __init__(self, settings: Settings) -> None:
        self._client = Client(settings)
        #: seconds for the requests of a call
        self.timeout = self._client.address.timeout
        self._waker = Waker(self._client, settings)
        self._ended = Ended.where_wanted(self._client, settings)
        self._registry = Registry(self._client)
        self._claims = Claims(self._client, self._registry, settings)
        self._show_pending_at = self._restore_at = 0.0
        self.capabilities = Capabilities(
            redelivers=True,
            extend=True,
            delay=True,
            stores_counters=True,
            dead_letters=True,
            long_poll=self._client.address.replicated,
            unique_ids=True,
            max_batch=MAX_BATCH,
            max_bytes=messages.MAX_BYTES,
            cluster_status=True,
            remove_messages=True,
            remembers_ended=self._ended is not None,
            queues=True,
            transaction_domain=self._client.transaction_domain,
        )

    # -- enqueuing --------------------------------------------------------------------------

    def enqueue(self, messages_: Sequence[Outgoing]) -> None:
        """Accept messages: one command for those without a delay, one for those with a delay."""
        messages.check(messages_)
        collection = self._client.collection(Kind.MESSAGES)
        accepted: list[bytes] = []
        routed = any(map(is_routed, messages_))
        if routed:
            self._registry.note()
        try:
            self._client.do(
                lambda: messages.put(collection, messages_, accepted), if_unknown=messages.OUTCOME_UNKNOWN
            )
            if routed:
                # again, if it took so long that the registry may have been removed
                self._registry.note()
        except BackendError as exc:
            exc.accepted = accepted
            raise

    # -- leasing ----------------------------------------------------------------------------

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Lease messages: read some, then claim those that have not changed since."""
        if limit <= 0:
            return ()
        deadline = time.monotonic() + wait
        limit, order = min(limit, MAX_BATCH), self._claims.order()
        found = self._claims.take(limit, order)
        while not found and (left := deadline - time.monotonic()) > 0:
            self._look_for_forgotten()
            self._waker.wait(left, self._claims.seconds_left)
            call_limit.again()
            found = self._claims.take(limit, order)
        return found

    def _look_for_forgotten(self) -> None:
        """Show the messages of slots whose process died while it fired them, and look for a lost registry."""
        now = time.monotonic()
        if now >= self._show_pending_at:
            self._show_pending_at = now + PENDING_INTERVAL
            pending.show(self._client)
        if now >= self._restore_at:
            self._restore_at = now + RESTORE_INTERVAL
            self._registry.restore()

    # -- leases -----------------------------------------------------------------------------

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases in one bulk write; remember what has ended in another.

        In this order, so that no message of a process that dies in between is taken for a copy.
        """
        steps = leases.settling(settlements)
        if steps:
            collection = self._client.collection(Kind.MESSAGES)
            self._client.do(lambda: collection.bulk_write(steps, ordered=False), repeatable=True)
        if self._ended is not None:
            self._ended.add(settlements)

    def ended(self, ids: Sequence[bytes]) -> Collection[bytes]:
        """Return the ids of messages that have ended; most batches need one look at the highest."""
        return self._ended.find(ids) if self._ended is not None and ids else ()

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Let leases end `seconds` from now, by the server's clock."""
        steps = leases.extending(receipts, seconds)
        if steps:
            collection = self._client.collection(Kind.MESSAGES)
            self._client.do(lambda: collection.bulk_write(steps, ordered=False), repeatable=True)

    def release_owner(self, owner: bytes) -> int:
        """Release every lease of a dead process; return how many messages."""
        if not owner:
            return 0
        collection = self._client.collection(Kind.MESSAGES)
        theirs = {"owner": owner}
        change = leases.releasing_any()
        return self._client.do(lambda: collection.update_many(theirs, change), repeatable=True).modified_count

    def close(self) -> None:
        """Close the client, and release what an interrupted claim may have leased."""
        try:
            with pymongo.timeout(CLOSE_TIMEOUT):
                self._claims.release_unknown()
        except BackendError as exc:
            _log.debug("leases end by themselves, they are not given back: %s", exc)
        self._waker.close()
        self._client.close()
