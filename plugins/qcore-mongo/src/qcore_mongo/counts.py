"""Decides how the messages of a queue are counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from qcore.model import QueueSize
from qcore_mongo.conditions import ANY_ROUTE, READY_FILTER, WAITING_FILTER, counting, ready, waiting
from qcore_mongo.indexes import Kind

if TYPE_CHECKING:
    from qcore_mongo.client import Client, Document

#: up to this number, ready messages are counted exactly
MAX_EXACT_COUNT: Final = 100_000


def size(client: Client) -> QueueSize:
    """Count the messages by state; a large number of ready messages is the server's estimate."""
    collection = client.collection(Kind.MESSAGES)
    since = {"$ifNull": ["$at", "$due"]}
    filters: dict[str, Document] = {
        "waiting": WAITING_FILTER,
        "leased": {"owner": {"$exists": True}, "$expr": {"$gt": [since, "$$NOW"]}},
        "dead": {"dead": {"$exists": True}},
        "waiting_routed": waiting("due", **ANY_ROUTE),
    }
    pipeline = counting("ready", READY_FILTER, MAX_EXACT_COUNT)
    parts = [counting(name, wanted) for name, wanted in filters.items()]
    parts.append(counting("ready_routed", ready("due", **ANY_ROUTE), MAX_EXACT_COUNT))
    pipeline += [{"$unionWith": {"coll": collection.name, "pipeline": part}} for part in parts]
    counted = client.do(lambda: list(collection.aggregate(pipeline)), repeatable=True)
    found = Counter({one["name"]: one["count"] for one in counted})
    waits = found["waiting"] + found["waiting_routed"]
    ready_ = found["ready"] + found["ready_routed"]
    if MAX_EXACT_COUNT in {found["ready"], found["ready_routed"]}:
        ready_ = client.do(collection.estimated_document_count) - waits - found["dead"]
    return QueueSize(
        ready=ready_,
        leased=found["leased"],
        delayed=max(0, waits - found["leased"]),
        dead_letters=found["dead"],
    )
