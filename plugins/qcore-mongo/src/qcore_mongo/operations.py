"""Decides what operators read and do: counts, dead letters, queues."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from qcore.interfaces import Broker
from qcore_mongo import counts, dead_letters, foreign, key_ids, queues
from qcore_mongo.conditions import ANY_UNLEASED, later
from qcore_mongo.indexes import Kind
from qcore_plugin_support import call_limit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.interfaces import QueueState, Waiting
    from qcore.model import DeadLetter, QueueSize
    from qcore_mongo.client import Client
    from qcore_mongo.registry import Registry

#: messages that are removed in one command
_AT_ONCE: Final = 10_000


@call_limit.each_call(lambda made: made.timeout)
class MongoOperations(Broker):
    """The calls that no worker makes for a task."""

    #: seconds for the requests of a call
    timeout: float
    _client: Client
    _registry: Registry

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Remove messages by id that are not leased; return their bodies."""
        collection = self._client.collection(Kind.MESSAGES)
        found = []
        for id in ids:
            wanted = {"_id": id, **ANY_UNLEASED}
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
        return queues.first(self._client)

    def purge(self) -> int:
        """Remove ready and delayed messages, thousands at a time; return how many."""
        collection = self._client.collection(Kind.MESSAGES)
        count = 0
        while True:
            some = collection.find(ANY_UNLEASED, {"_id": 1}).limit(_AT_ONCE)
            ids = [one["_id"] for one in self._client.read(some)]
            if not ids:
                return count
            wanted = {"_id": {"$in": ids}, **ANY_UNLEASED}
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

    # -- queues -----------------------------------------------------------------------------

    def queues(self) -> Sequence[QueueState]:
        """Count the messages of each queue."""
        return queues.listed(self._client)

    def pause_queue(self, queue: str, *, paused: bool) -> None:
        """Pause a queue, or resume it."""
        self._registry.pause(queue, paused=paused)

    def is_queue_paused(self, queue: str) -> bool:
        """Tell whether a queue is paused."""
        return self._registry.is_paused(queue)

    def purge_queue(self, queue: str) -> int:
        """Remove ready and delayed messages of a queue; return how many."""
        return queues.purge(self._client, queue)

    def move_queue(self, source: str, target: str) -> int:
        """Put ready and delayed messages of a queue into another; return how many."""
        return queues.move(self._client, self._registry, source, target)

    def waiting(self, limit: int, queue: str | None = None) -> Sequence[Waiting]:
        """Look at ready and delayed messages."""
        return queues.waiting_messages(self._client, limit, queue)

    # -- status -----------------------------------------------------------------------------

    def publish_status(self, cluster: str, body: bytes, ttl: float) -> None:
        """Store a status; the server removes it when it has expired."""
        collection = self._client.collection(Kind.STATUSES)
        if not body:
            self._client.do(lambda: collection.delete_one({"_id": cluster}), repeatable=True)
            return
        change = [{"$set": {"body": body, "until": later(ttl)}}]
        self._client.do(lambda: collection.update_one({"_id": cluster}, change, upsert=True), repeatable=True)

    def statuses(self) -> Sequence[bytes]:
        """Return the statuses that have not expired."""
        collection = self._client.collection(Kind.STATUSES)
        found = collection.find({"$expr": {"$gt": ["$until", "$$NOW"]}}).sort("_id")
        bodies = (one.get("body") for one in self._client.read(found))
        return [body for body in bodies if isinstance(body, bytes)]
