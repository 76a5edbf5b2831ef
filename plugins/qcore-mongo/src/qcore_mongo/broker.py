"""Decides how a queue lives in MongoDB."""

from __future__ import annotations

import logging
import os
import random
import time
from typing import TYPE_CHECKING, Final

import pymongo

from qcore.errors import BackendError
from qcore.interfaces import Broker, Capabilities
from qcore.model import Delivery, QueueSize
from qcore_mongo import dead_letters, messages, pending
from qcore_mongo.client import FAREWELL, Client, Document
from qcore_mongo.indexes import READY, Kind
from qcore_mongo.wakeup import Waker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Settings
    from qcore.model import DeadLetter, Outgoing, Settlement

_log = logging.getLogger("qcore_mongo.broker")

#: messages in one call at most
BULK: Final = 1000
#: seconds between looks for slots that nobody finished firing, while there is nothing else to do
SWEEP: Final = 1.0
#: ready messages are counted one by one up to this many
_COUNTED: Final = 100_000
#: messages read ahead are at most this many times those that are wanted, when others want the same
_AHEAD: Final = 64
_ORDER: Final = [("at", 1), ("seq", 1)]
#: no lease, or one that has ended
_NOT_LEASED: Final[Document] = {
    "at": {"$exists": True},
    "$or": [{"lease": {"$exists": False}}, {"$expr": {"$lte": ["$at", "$$NOW"]}}],
}


class MongoBroker(Broker):
    """A queue in MongoDB, for any number of machines."""

    def __init__(self, settings: Settings) -> None:
        self._link = Client(settings)
        self._lasts = settings.retry
        self._owner = settings.owner
        self._waker = Waker(self._link, settings)
        #: how far ahead is read: 1 while nobody else takes what was read
        self._ahead = 1
        self._sweep_at = 0.0
        #: leases whose answer was lost: nobody knows what they hold
        self._doubtful: dict[bytes, list[bytes]] = {}
        self.capabilities = Capabilities(
            receipts=True,
            extend=True,
            delay=True,
            counts_attempts=True,
            dead_letter=True,
            blocking=self._link.place.replicated,
            unique_ids=True,
            bulk=BULK,
            max_bytes=messages.MAX_BYTES,
            status=True,
            remove_messages=True,
            backend=self._link.backend,
        )

    # -- putting in -------------------------------------------------------------------------

    def enqueue(self, messages_: Sequence[Outgoing]) -> None:
        """Accept messages: one command for those without delay, one for those with."""
        messages.check(messages_)
        collection = self._link.collection(Kind.MESSAGES)
        self._link.do(lambda: messages.put(collection, messages_), doubt=messages.DOUBT)

    # -- taking out -------------------------------------------------------------------------

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Hand out messages: they are read, then claimed if they are still what was read."""
        if limit <= 0:
            return ()
        deadline = time.monotonic() + wait
        found = self._take(min(limit, BULK))
        while not found and (left := deadline - time.monotonic()) > 0:
            self._sweep()
            self._waker.wait(left)
            found = self._take(min(limit, BULK))
        return found

    def _take(self, limit: int) -> list[Delivery]:
        self._give_up_doubtful()
        collection = self._link.collection(Kind.MESSAGES)
        while True:
            # several who read the same would claim the same: they read at different places
            skip = random.randrange(self._ahead) * limit  # noqa: S311 - no secret is made of it
            ready = collection.find(messages.FREE, hint=READY).sort(_ORDER).skip(skip).limit(limit)
            # in one answer, however many they are
            ready.batch_size(limit + 1)
            copies = self._link.read(ready)
            if found := self._claim(copies):
                return found
            if not copies:
                if self._ahead == 1:
                    return []
                self._ahead = 1

    def _sweep(self) -> None:
        """See to slots whose timekeeper died while it fired them."""
        now = time.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP
            pending.show(self._link)

    def _claim(self, copies: list[Document]) -> list[Delivery]:
        if not copies:
            return []
        token = os.urandom(messages.TOKEN)
        ids = [one["_id"] for one in copies]
        collection = self._link.collection(Kind.MESSAGES)
        steps = messages.claims(copies, token, self._owner, self._lasts)
        self._doubtful[token] = ids
        claimed = self._link.do(lambda: collection.bulk_write(steps, ordered=False), again=True)
        if claimed.matched_count < len(ids):
            # somebody else was faster, or this is the second try of a claim whose answer was lost
            self._ahead = min(self._ahead * 2, _AHEAD)
            ours = collection.find(messages.held(ids, token), {"_id": 1})
            kept = {one["_id"] for one in self._link.read(ours)}
            copies = [one for one in copies if one["_id"] in kept]
        elif self._ahead > 1:
            self._ahead //= 2
        found = [messages.delivery(one, token) for one in copies]
        del self._doubtful[token]
        return found

    def _give_up_doubtful(self) -> None:
        while self._doubtful:
            token, ids = next(iter(self._doubtful.items()))
            collection = self._link.collection(Kind.MESSAGES)
            lost = messages.held(ids, token)
            self._link.do(lambda: collection.update_many(lost, messages.giving_back()), again=True)  # noqa: B023 - used at once
            del self._doubtful[token]

    # -- leases -----------------------------------------------------------------------------

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases: one command for what is removed, one for what is kept."""
        steps = messages.settling(settlements)
        if steps:
            collection = self._link.collection(Kind.MESSAGES)
            self._link.do(lambda: collection.bulk_write(steps, ordered=False), again=True)

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Make leases last, by the server's clock."""
        steps = messages.extending(receipts, seconds)
        if steps:
            collection = self._link.collection(Kind.MESSAGES)
            self._link.do(lambda: collection.bulk_write(steps, ordered=False), again=True)

    def release_owner(self, owner: bytes) -> int:
        """Release every lease of a dead process."""
        if not owner:
            return 0
        collection = self._link.collection(Kind.MESSAGES)
        theirs = {"owner": owner}
        change = messages.giving_back()
        return self._link.do(lambda: collection.update_many(theirs, change), again=True).modified_count

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Take messages back by their ids, which the documents bear."""
        collection = self._link.collection(Kind.MESSAGES)
        found = []
        for id in ids:
            wanted = {"_id": id, **_NOT_LEASED}
            taken = self._link.do(lambda: collection.find_one_and_delete(wanted))  # noqa: B023 - used at once
            if taken is not None:
                found.append(taken["body"])
        return found

    # -- looking ----------------------------------------------------------------------------

    def size(self) -> QueueSize:
        """Count the messages; of very many that are ready, the number is the server's estimate."""
        collection = self._link.collection(Kind.MESSAGES)
        filters: dict[str, Document] = {
            "waiting": messages.WAITS,
            "leased": {"owner": {"$exists": True}, "$expr": {"$gt": ["$at", "$$NOW"]}},
            "buried": {"buried": {"$exists": True}},
        }
        pipeline = messages.counting("ready", messages.FREE, _COUNTED)
        for name, wanted in filters.items():
            part = messages.counting(name, wanted)
            pipeline.append({"$unionWith": {"coll": collection.name, "pipeline": part}})
        counts = self._link.do(lambda: list(collection.aggregate(pipeline)), again=True)
        found = {one["name"]: one["count"] for one in counts}
        waiting, leased, dead_letters = (found.get(name, 0) for name in filters)
        ready = found.get("ready", 0)
        if ready == _COUNTED:
            ready = self._link.do(collection.estimated_document_count) - waiting - dead_letters
        return QueueSize(
            ready=ready, leased=leased, delayed=max(0, waiting - leased), dead_letters=dead_letters
        )

    def purge(self) -> int:
        """Remove what is not leased or buried, some thousands at a time."""
        collection = self._link.collection(Kind.MESSAGES)
        count = 0
        while True:
            some = collection.find(_NOT_LEASED, {"_id": 1}).limit(10 * BULK)
            ids = [one["_id"] for one in self._link.read(some)]
            if not ids:
                return count
            wanted = {"_id": {"$in": ids}, **_NOT_LEASED}
            count += self._link.do(lambda: collection.delete_many(wanted)).deleted_count  # noqa: B023 - used at once

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """List dead letters in the order they were buried."""
        return dead_letters.listed(self._link, limit, after)

    def requeue(self, ids: Sequence[str]) -> int:
        """Make dead letters ready again."""
        return dead_letters.requeue(self._link, ids)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters for good."""
        return dead_letters.delete(self._link, ids)

    def ping(self) -> None:
        """Ask for a sign of life of the server that takes writes."""
        database = self._link.database
        self._link.do(lambda: database.command("ping"))

    def info(self) -> str:
        """Say which version, and where."""
        client = self._link.database.client
        version = self._link.do(client.server_info)["version"]
        kind = f"replica set {name}" if (name := self._link.hello().get("setName")) else "one server"
        return f"MongoDB {version}, {kind}, {self._link.place.title}"[:200]

    def close(self) -> None:
        """Let go of the client, and of what an interrupted lease may have got."""
        try:
            with pymongo.timeout(FAREWELL):
                self._give_up_doubtful()
        except BackendError as exc:
            _log.debug("leases end by themselves, they are not given back: %s", exc)
        self._waker.close()
        self._link.close()

    # -- status -----------------------------------------------------------------------------

    def publish_status(self, cluster: str, body: bytes, ttl: float) -> None:
        """Keep a status; the server removes it when it is outlived."""
        collection = self._link.collection(Kind.STATUSES)
        if not body:
            self._link.do(lambda: collection.delete_one({"_id": cluster}), again=True)
            return
        change = [{"$set": {"body": body, "until": messages.later(ttl)}}]
        self._link.do(lambda: collection.update_one({"_id": cluster}, change, upsert=True), again=True)

    def statuses(self) -> Sequence[bytes]:
        """Return the statuses that are not outlived."""
        collection = self._link.collection(Kind.STATUSES)
        found = collection.find({"$expr": {"$gt": ["$until", "$$NOW"]}}).sort("_id")
        return [one["body"] for one in self._link.read(found)]
