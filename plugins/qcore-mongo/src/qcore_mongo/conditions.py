"""States of a message, as filters and expressions of the server's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from bson import Timestamp

if TYPE_CHECKING:
    from qcore_mongo.client import Document

#: the server replaces it by its time when it inserts the document
SERVER_TIME: Final = Timestamp(0, 0)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: `at` of the registry: what is ready is behind it in the index
FIRST: Final = EPOCH - timedelta(milliseconds=1)
#: a message with a queue or a priority
IS_ROUTED: Final[Document] = {"$eq": [{"$type": "$route"}, "string"]}


def ready(field: str = "at", since: datetime = EPOCH, **which: object) -> Document:
    """Return a filter for messages that are ready; each part of it is a range of an index."""
    return {
        "$or": [
            {**which, field: {"$gt": SERVER_TIME}},
            {**which, field: {"$gte": since}, "$expr": {"$lte": [f"${field}", "$$NOW"]}},
        ]
    }


def waiting(field: str = "at", **which: object) -> Document:
    """Return a filter for messages that are delayed or leased."""
    return {**which, field: {"$gte": EPOCH}, "$expr": {"$gt": [f"${field}", "$$NOW"]}}


def unleased(field: str = "at", **which: object) -> Document:
    """Return a filter for messages without a lease, or with an expired one."""
    return {
        **which,
        field: {"$exists": True, "$ne": FIRST},
        "$or": [{"lease": {"$exists": False}}, {"$expr": {"$lte": [f"${field}", "$$NOW"]}}],
    }


#: messages that are ready, of the default queue and priority
READY_FILTER: Final = ready()
#: the same, and the registry, which is the first if there is one
READY_OR_REGISTRY: Final = ready(since=FIRST)
#: messages that are delayed or leased, as above
WAITING_FILTER: Final = waiting()
#: messages without a lease, or with an expired one, as above
UNLEASED_FILTER: Final = unleased()
#: of any queue and priority
ANY_ROUTE: Final[Document] = {"route": {"$gt": ""}}
ANY_UNLEASED: Final[Document] = {"$or": [UNLEASED_FILTER, unleased("due", **ANY_ROUTE)]}


def number(field: str) -> Document:
    """Return an expression for a number, 0 for what is missing or, in a document of others, not a number."""
    return {"$convert": {"input": field, "to": "long", "onError": 0, "onNull": 0}}


COUNT_UP: Final[Document] = {"$add": [number("$version"), 1]}


def later(seconds: float) -> Document:
    """Return an expression for a time `seconds` from now, by the server's clock."""
    return {"$add": ["$$NOW", max(0, round(seconds * 1000))]}


def by_route(value: object) -> Document:
    """Return the change that sets when a message may be leased, whether it has a route or not."""
    return {
        "at": {"$cond": [IS_ROUTED, "$$REMOVE", value]},
        "due": {"$cond": [IS_ROUTED, value, "$$REMOVE"]},
    }


def counting(name: str, wanted: Document, most: int | None = None) -> list[Document]:
    """Return a pipeline that counts the documents of a filter, up to `most`."""
    limit: list[Document] = [{"$limit": most}] if most else []
    return [{"$match": wanted}, *limit, {"$count": "count"}, {"$set": {"name": name}}]
