"""Decides how messages are leased and settled in MongoDB."""

from __future__ import annotations

import logging
import os
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pymongo

from qcore.errors import BackendError
from qcore.interfaces import Broker, Capabilities
from qcore_mongo import counts, dead_letters, foreign, key_ids, messages, pending
from qcore_mongo.client import CLOSE_TIMEOUT, Client, Document
from qcore_mongo.ended import Ended
from qcore_mongo.indexes import READY, Kind
from qcore_mongo.wakeup import Waker
from qcore_plugin_support import call_limit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from qcore.interfaces import Settings
    from qcore.model import DeadLetter, Delivery, Outgoing, QueueSize, Settlement

_log = logging.getLogger("qcore_mongo.broker")

#: most messages in one call
MAX_BATCH: Final = 1000
#: seconds between searches for unfinished slots of schedules, while a worker is idle
PENDING_INTERVAL: Final = 1.0
#: a worker reads at most this many batches ahead, when other workers claim the same messages
_MAX_AHEAD: Final = 64
_ORDER: Final = [("at", 1), ("seq", 1)]
#: messages without a lease, or with an expired one
_NOT_LEASED: Final[Document] = {
    "at": {"$exists": True},
    "$or": [{"lease": {"$exists": False}}, {"$expr": {"$lte": ["$at", "$$NOW"]}}],
}


@call_limit.each_call(lambda made: made.timeout)
class MongoBroker(Broker):
    """A queue in MongoDB, for any number of machines."""

    def __init__(self, settings: Settings) -> None:
        self._client = Client(settings)
        #: seconds for the requests of a call
        self.timeout = self._client.address.timeout
        self._lease_seconds = settings.retry
        self._owner = settings.owner
        self._waker = Waker(self._client, settings)
        self._ended = Ended.where_wanted(self._client, settings)
        #: number of batches among which the one to read is chosen; 1 while no other worker claims the same
        self._ahead = 1
        self._show_pending_at = 0.0
        #: token -> ids of a claim whose answer was lost, so that it is not known which it leased
        self._unknown_claims: dict[bytes, list[bytes]] = {}
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
            transaction_domain=self._client.transaction_domain,
        )

    # -- enqueuing --------------------------------------------------------------------------

    def enqueue(self, messages_: Sequence[Outgoing]) -> None:
        """Accept messages: one command for those without a delay, one for those with a delay."""
        messages.check(messages_)
        collection = self._client.collection(Kind.MESSAGES)
        accepted: list[bytes] = []
        try:
            self._client.do(
                lambda: messages.put(collection, messages_, accepted), if_unknown=messages.OUTCOME_UNKNOWN
            )
        except BackendError as exc:
            exc.accepted = accepted
            raise

    # -- leasing ----------------------------------------------------------------------------

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Lease messages: read some, then claim those that have not changed since."""
        if limit <= 0:
            return ()
        deadline = time.monotonic() + wait
        found = self._lease_ready(min(limit, MAX_BATCH))
        while not found and (left := deadline - time.monotonic()) > 0:
            self._show_pending()
            self._waker.wait(left)
            call_limit.again()
            found = self._lease_ready(min(limit, MAX_BATCH))
        return found

    def _lease_ready(self, limit: int) -> list[Delivery]:
        self._release_unknown_claims()
        collection = self._client.collection(Kind.MESSAGES)
        while True:
            # workers that read the same messages would claim the same, so each reads another batch
            skip = random.randrange(self._ahead) * limit  # noqa: S311 - not used for a secret
            ready = collection.find(messages.READY_FILTER, hint=READY).sort(_ORDER).skip(skip).limit(limit)
            # in one answer, whatever their number is
            ready.batch_size(limit + 1)
            copies = self._client.read(ready)
            if not all(map(foreign.is_message, copies)):
                foreign.set_aside(self._client, [one for one in copies if not foreign.is_message(one)])
                continue
            if found := self._claim(copies):
                return found
            if not copies:
                if self._ahead == 1:
                    return []
                self._ahead = 1

    def _show_pending(self) -> None:
        """Show the messages of slots whose process died while it fired them."""
        now = time.monotonic()
        if now >= self._show_pending_at:
            self._show_pending_at = now + PENDING_INTERVAL
            pending.show(self._client)

    def _claim(self, copies: list[Document]) -> list[Delivery]:
        if not copies:
            return []
        token = os.urandom(messages.TOKEN)
        ids = [one["_id"] for one in copies]
        collection = self._client.collection(Kind.MESSAGES)
        steps = messages.claims(copies, token, self._owner, self._lease_seconds)
        self._unknown_claims[token] = ids
        claimed = self._client.do(lambda: collection.bulk_write(steps, ordered=False), repeatable=True)
        if claimed.matched_count < len(ids):
            # another worker was faster, or this is the second attempt of a claim whose answer was lost
            self._ahead = min(self._ahead * 2, _MAX_AHEAD)
            ours = collection.find(messages.held(ids, token), {"_id": 1})
            kept = {one["_id"] for one in self._client.read(ours)}
            copies = [one for one in copies if one["_id"] in kept]
        elif self._ahead > 1:
            self._ahead //= 2
        found = [messages.delivery(one, token) for one in copies]
        del self._unknown_claims[token]
        return found

    def _release_unknown_claims(self) -> None:
        while self._unknown_claims:
            token, ids = next(iter(self._unknown_claims.items()))
            collection = self._client.collection(Kind.MESSAGES)
            lost = messages.held(ids, token)
            self._client.do(lambda: collection.update_many(lost, messages.releasing()), repeatable=True)  # noqa: B023 - used at once
            del self._unknown_claims[token]

    # -- leases -----------------------------------------------------------------------------

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases in one bulk write; remember what has ended in another.

        In this order, so that no message of a process that dies in between is taken for a copy.
        """
        steps = messages.settling(settlements)
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
        steps = messages.extending(receipts, seconds)
        if steps:
            collection = self._client.collection(Kind.MESSAGES)
            self._client.do(lambda: collection.bulk_write(steps, ordered=False), repeatable=True)

    def release_owner(self, owner: bytes) -> int:
        """Release every lease of a dead process; return how many messages."""
        if not owner:
            return 0
        collection = self._client.collection(Kind.MESSAGES)
        theirs = {"owner": owner}
        change = messages.releasing()
        return self._client.do(lambda: collection.update_many(theirs, change), repeatable=True).modified_count

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Remove messages by id that are not leased; return their bodies."""
        collection = self._client.collection(Kind.MESSAGES)
        found = []
        for id in ids:
            wanted = {"_id": id, **_NOT_LEASED}
            taken = self._client.do(lambda: collection.find_one_and_delete(wanted))  # noqa: B023 - used at once
            if taken is not None:
                found.append(foreign.bytes_of(taken.get("body", b"")))
        return found

    def find_messages(self, ids: Sequence[bytes]) -> Sequence[bytes] | None:
        """Find messages in any state by their key."""
        collection = self._client.collection(Kind.MESSAGES)
        wanted = {"_id": {"$in": list(ids)}}
        return self._client.do(
            lambda: [one["_id"] for one in collection.find(wanted, {"_id": 1})], repeatable=True
        )

    # -- inspection ---------------------------------------------------------------------------

    def size(self) -> QueueSize:
        """Count the messages by state; a large number of ready messages is the server's estimate."""
        return counts.size(self._client)

    def peek(self) -> bytes | None:
        """Read the message that is leased next."""
        return counts.first(self._client)

    def purge(self) -> int:
        """Remove ready and delayed messages, ten batches at a time; return how many."""
        collection = self._client.collection(Kind.MESSAGES)
        count = 0
        while True:
            some = collection.find(_NOT_LEASED, {"_id": 1}).limit(10 * MAX_BATCH)
            ids = [one["_id"] for one in self._client.read(some)]
            if not ids:
                return count
            wanted = {"_id": {"$in": ids}, **_NOT_LEASED}
            count += self._client.do(lambda: collection.delete_many(wanted)).deleted_count  # noqa: B023 - used at once

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """Return dead letters in the order in which they were dead-lettered."""
        return dead_letters.listed(self._client, limit, after)

    def key_ids(self) -> Mapping[bytes, int]:
        """Count messages by the key that signed them."""
        return key_ids.counted(self._client)

    def replace_dead_letter(self, id: str, body: bytes) -> bool:
        """Give a dead letter another body."""
        return dead_letters.replace(self._client, id, body)

    def requeue(self, ids: Sequence[str]) -> int:
        """Make dead letters ready again; return how many."""
        return dead_letters.requeue(self._client, ids)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters; return how many."""
        return dead_letters.delete(self._client, ids)

    def ping(self) -> None:
        """Check that the server that accepts writes answers."""
        database = self._client.database
        self._client.do(lambda: database.command("ping"))

    def server_time(self) -> float:
        """Ask the server that accepts writes for its time."""
        database = self._client.database
        shown: datetime = self._client.do(lambda: database.command("hello"), repeatable=True)["localTime"]
        return (shown if shown.tzinfo else shown.replace(tzinfo=UTC)).timestamp()

    def info(self) -> str:
        """Return the server's version, its kind and its address."""
        client = self._client.database.client
        version = self._client.do(client.server_info)["version"]
        kind = f"replica set {name}" if (name := self._client.hello().get("setName")) else "one server"
        return f"MongoDB {version}, {kind}, {self._client.address.title}"[:200]

    def close(self) -> None:
        """Close the client, and release what an interrupted claim may have leased."""
        try:
            with pymongo.timeout(CLOSE_TIMEOUT):
                self._release_unknown_claims()
        except BackendError as exc:
            _log.debug("leases end by themselves, they are not given back: %s", exc)
        self._waker.close()
        self._client.close()

    # -- status -----------------------------------------------------------------------------

    def publish_status(self, cluster: str, body: bytes, ttl: float) -> None:
        """Store a status; the server removes it when it has expired."""
        collection = self._client.collection(Kind.STATUSES)
        if not body:
            self._client.do(lambda: collection.delete_one({"_id": cluster}), repeatable=True)
            return
        change = [{"$set": {"body": body, "until": messages.later(ttl)}}]
        self._client.do(lambda: collection.update_one({"_id": cluster}, change, upsert=True), repeatable=True)

    def statuses(self) -> Sequence[bytes]:
        """Return the statuses that have not expired."""
        collection = self._client.collection(Kind.STATUSES)
        found = collection.find({"$expr": {"$gt": ["$until", "$$NOW"]}}).sort("_id")
        bodies = (one.get("body") for one in self._client.read(found))
        return [body for body in bodies if isinstance(body, bytes)]
