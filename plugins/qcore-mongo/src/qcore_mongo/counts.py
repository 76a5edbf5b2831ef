"""Decides how the messages of a queue are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.model import QueueSize
from qcore_mongo import messages
from qcore_mongo.indexes import READY, Kind

if TYPE_CHECKING:
    from qcore_mongo.client import Client, Document

#: up to this number, ready messages are counted exactly
_MAX_EXACT_COUNT: Final = 100_000


def size(client: Client) -> QueueSize:
    """Count the messages by state; a large number of ready messages is the server's estimate."""
    collection = client.collection(Kind.MESSAGES)
    filters: dict[str, Document] = {
        "waiting": messages.WAITING_FILTER,
        "leased": {"owner": {"$exists": True}, "$expr": {"$gt": ["$at", "$$NOW"]}},
        "dead": {"dead": {"$exists": True}},
    }
    pipeline = messages.counting("ready", messages.READY_FILTER, _MAX_EXACT_COUNT)
    for name, wanted in filters.items():
        part = messages.counting(name, wanted)
        pipeline.append({"$unionWith": {"coll": collection.name, "pipeline": part}})
    counted = client.do(lambda: list(collection.aggregate(pipeline)), repeatable=True)
    found = {one["name"]: one["count"] for one in counted}
    waiting, leased, dead_letters = (found.get(name, 0) for name in filters)
    ready = found.get("ready", 0)
    if ready == _MAX_EXACT_COUNT:
        ready = client.do(collection.estimated_document_count) - waiting - dead_letters
    return QueueSize(ready=ready, leased=leased, delayed=max(0, waiting - leased), dead_letters=dead_letters)


def first(client: Client) -> bytes | None:
    """Return the body of the message that is leased next."""
    collection = client.collection(Kind.MESSAGES)
    ready = collection.find(messages.READY_FILTER, {"body": 1}, hint=READY).sort(list(READY.items())).limit(1)
    found = [one.get("body") for one in client.read(ready)]
    # a document that is not ours may have anything there
    return bytes(found[0]) if found and isinstance(found[0], bytes) else None
