"""Decides what is read of queues, and done with one of several."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from qcore.interfaces import QueueState, Waiting
from qcore.model import ID_AT, QueueSize
from qcore_mongo import counts
from qcore_mongo.claims import united
from qcore_mongo.conditions import (
    ANY_ROUTE,
    COUNT_UP,
    READY_FILTER,
    READY_OR_REGISTRY,
    WAITING_FILTER,
    counting,
    waiting,
)
from qcore_mongo.indexes import READY, Kind
from qcore_mongo.registry import Registry, is_registry
from qcore_mongo.routes import DEFAULT, name_of, route_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from qcore_mongo.client import Client, Document
    from qcore_mongo.routes import Route

#: messages that are removed or moved in one command
_AT_ONCE: Final = 10_000
#: routes that are read in one command
_ROUTES: Final = 50
_LEASED: Final[Document] = {"owner": {"$exists": True}}
_IS_LATER: Final[Document] = {"$and": [{"$eq": [{"$type": "$due"}, "date"]}, {"$gt": ["$due", "$$NOW"]}]}
_IS_DUE: Final[Document] = {
    "$or": [
        {"$eq": [{"$type": "$due"}, "timestamp"]},
        {"$and": [{"$eq": [{"$type": "$due"}, "date"]}, {"$lte": ["$due", "$$NOW"]}]},
    ]
}
#: counts routed messages by route, reading the index alone
_BY_ROUTE: Final[list[Document]] = [
    {"$match": ANY_ROUTE},
    {
        "$group": {
            "_id": "$route",
            "ready": {"$sum": {"$cond": [_IS_DUE, 1, 0]}},
            "waiting": {"$sum": {"$cond": [_IS_LATER, 1, 0]}},
        }
    },
]
#: counts leased ones, that are among the waiting
_BY_ROUTE_LEASED: Final[list[Document]] = [
    {"$match": {**_LEASED, **waiting("due", **ANY_ROUTE)}},
    {"$group": {"_id": "$route", "leased": {"$sum": 1}}},
]


class _Counts:
    """How many messages of a queue are in which state."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()
        self.routes: list[Route] = []

    def size(self) -> QueueSize:
        """Return them as the interface has them."""
        leased = self.of["leased"]
        return QueueSize(self.of["ready"], leased, max(0, self.of["waiting"] - leased))


def listed(client: Client) -> list[QueueState]:
    """Return the queues that have messages or are paused, and the default one."""
    known, _ = Registry(client).read()
    found = _counted(client)
    there = {name for name, one in found.items() if any(one.of.values())}
    states = []
    for name in sorted({"", *there, *known.paused}):
        one = found.get(name, _Counts())
        states.append(QueueState(name, one.size(), name in known.paused, oldest(client, one.routes)))
    return states


def _counted(client: Client) -> dict[str, _Counts]:
    collection = client.collection(Kind.MESSAGES)
    parts = [
        counting("waiting", WAITING_FILTER),
        counting("leased", {**_LEASED, **WAITING_FILTER}),
        _BY_ROUTE,
        _BY_ROUTE_LEASED,
    ]
    pipeline = [*counting("ready", READY_FILTER, counts.MAX_EXACT_COUNT), *united(collection.name, parts)]
    default = _Counts()
    default.routes.append(DEFAULT)
    found = {"": default}
    routed: Counter[str] = Counter()
    for row in client.do(lambda: list(collection.aggregate(pipeline)), repeatable=True):
        if "name" in row:
            default.of[row["name"]] += row["count"]
        elif route := route_of(row.pop("_id")):
            queue = found.setdefault(route.queue, _Counts())
            queue.routes.append(route)
            queue.of.update(row)
            routed.update(row)
    if default.of["ready"] >= counts.MAX_EXACT_COUNT:
        default.of["ready"] = max(default.of["ready"], counts.size(client).ready - routed["ready"])
    return found


def first(client: Client) -> bytes | None:
    """Return the body of the ready message that was enqueued first, by the first of each route."""
    collection = client.collection(Kind.MESSAGES)
    found = client.read(collection.find(READY_OR_REGISTRY, hint=READY).sort(list(READY.items())).limit(1))
    if found and is_registry(found[0]):
        known, _ = Registry(client).read()
        return oldest(client, (DEFAULT, *known.routes))
    return next(_bodies(found), None)


def oldest(client: Client, routes: Iterable[Route]) -> bytes | None:
    """Return the body of the ready message of these routes that was enqueued first, by the first of each."""
    parts = [route.first(route.ready, 1) for route in dict.fromkeys(routes)]
    return min(_bodies(_each(client, parts)), key=lambda body: body[ID_AT], default=None)


def waiting_messages(client: Client, limit: int, queue: str | None) -> list[Waiting]:
    """Return messages that are not leased, those that are leased first in front."""
    if limit <= 0:
        return []
    known, _ = Registry(client).read()
    routes = [one for one in (DEFAULT, *known.routes) if queue in {None, one.queue}]
    routes.sort(key=lambda one: -one.priority)
    parts = [route.first(route.ready, limit) for route in routes]
    parts += [route.first({**route.waiting, "lease": {"$exists": False}}, limit) for route in routes]
    found = []
    now = {"$set": {"now": "$$NOW"}}
    for one in _each(client, [[*part, now] for part in parts], limit):
        route = route_of(one.get("route")) or DEFAULT
        since = one.get(route.field)
        delay = (since - one["now"]).total_seconds() if isinstance(since, datetime) else 0.0
        found += [Waiting(body, route.queue, route.priority, max(0.0, delay)) for body in _bodies([one])]
    return found[:limit]


def purge(client: Client, queue: str) -> int:
    """Remove ready and delayed messages of a queue; return how many."""
    return sum(_each_batch(client, route, _remove) for route in _routes_of(client, queue))


def move(client: Client, registry: Registry, source: str, target: str) -> int:
    """Put ready and delayed messages of a queue into another; return how many."""
    if source == target:
        return 0
    registry.note()
    return sum(_each_batch(client, route, _moving(route, target)) for route in _routes_of(client, source))


def _routes_of(client: Client, queue: str) -> list[Route]:
    known, _ = Registry(client).read()
    return [one for one in (DEFAULT, *known.routes) if one.queue == queue]


def _each_batch(client: Client, route: Route, change: Callable[[Any, Document], int]) -> int:
    """Change the unleased messages of a route, some at a time, until there are none; return how many."""
    collection = client.collection(Kind.MESSAGES)
    count = 0
    while True:
        some = client.read(collection.find(route.unleased, {"_id": 1}).limit(_AT_ONCE))
        if not some:
            return count
        wanted = {"_id": {"$in": [one["_id"] for one in some]}, **route.unleased}
        count += client.do(lambda: change(collection, wanted))  # noqa: B023 - used at once


def _remove(collection: Any, wanted: Document) -> int:  # noqa: ANN401 - a collection
    count: int = collection.delete_many(wanted).deleted_count
    return count


def _moving(route: Route, queue: str) -> Callable[[Any, Document], int]:
    """Return what moves messages of a route into a queue; their order, and their delays, stay."""
    name, since = name_of(queue, route.priority), f"${route.field}"
    gone = ["lease", "owner", "at"] if name else ["lease", "owner", "route", "due"]
    fields: Document = {"route": name, "due": since} if name else {"at": since}
    change: list[Document] = [{"$set": {**fields, "version": COUNT_UP}}, {"$unset": gone}]

    def step(collection: Any, wanted: Document) -> int:  # noqa: ANN401 - as above
        count: int = collection.update_many(wanted, change).modified_count
        return count

    return step


def _each(client: Client, parts: list[list[Document]], limit: int = 0) -> Iterator[Document]:
    """Yield the documents of several pipelines, one behind the other, no more than `limit` unless it is 0."""
    collection = client.collection(Kind.MESSAGES)
    ends: list[Document] = [{"$limit": limit}] if limit else []
    left = limit
    for start in range(0, len(parts), _ROUTES):
        some = parts[start : start + _ROUTES]
        pipeline = [*some[0], *united(collection.name, some[1:]), *ends]
        rows = client.do(lambda: list(collection.aggregate(pipeline)), repeatable=True)  # noqa: B023 - used at once
        yield from rows
        left -= len(rows)
        if limit and left <= 0:
            return


def _bodies(found: Iterable[Document]) -> Iterator[bytes]:
    """Yield the bodies; a document that is not ours may have anything there."""
    for one in found:
        if isinstance(body := one.get("body"), bytes):
            yield bytes(body)
