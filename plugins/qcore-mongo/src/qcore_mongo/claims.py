"""Decides which messages are leased next."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from qcore_mongo import foreign, leases
from qcore_mongo.conditions import EPOCH, READY_FILTER, READY_OR_REGISTRY
from qcore_mongo.indexes import READY, ROUTED, Kind
from qcore_mongo.registry import IS_REGISTRY, Known, Registry, is_registry
from qcore_mongo.routes import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qcore.interfaces import Settings
    from qcore.model import Delivery
    from qcore_mongo.client import Client, Document
    from qcore_mongo.routes import Route

#: a worker reads at most this many batches ahead, when other workers claim the same messages
_MAX_AHEAD: Final = 64
#: routes that are read in one command
_ROUTES: Final = 50
_ORDER: Final = list(READY.items())
_ENDS: Final = {"$gte": EPOCH}


class Claims:
    """Leases messages: reads some, then claims those that have not changed since.

    Who uses neither queues nor priorities has one route, and one command reads it. The registry is the
    first that this command finds where there is one: then the routes are read as well.
    """

    def __init__(self, client: Client, registry: Registry, settings: Settings) -> None:
        self._client = client
        self._registry = registry
        self._owner = settings.owner
        self._seconds = settings.retry
        self._order = settings.queues
        #: whether there may be other routes than the default one
        self._routed = self._order is not None
        #: the routes, when they were last read
        self._known = Known()
        #: number of batches among which the one to read is chosen; 1 while no other worker claims the same
        self._ahead = 1
        #: token -> ids of a claim whose answer was lost, so that it is not known which it leased
        self._unknown: dict[bytes, list[bytes]] = {}

    def order(self) -> Sequence[str] | None:
        """Return the queues of the next lease; None = all."""
        return None if self._order is None else self._order.next()

    def take(self, limit: int, order: Sequence[str] | None) -> list[Delivery]:
        """Lease messages that are ready, of some queues."""
        self.release_unknown()
        while True:
            # workers that read the same messages would claim the same, so each reads another batch
            skip = random.randrange(self._ahead) * limit  # noqa: S311 - not used for a secret
            copies = self._read(limit, skip, order)
            if not all(map(foreign.is_message, copies)):
                self._set_aside(copies)
                continue
            if found := self._claim(copies):
                return found
            if not copies:
                if self._ahead == 1:
                    return []
                self._ahead = 1

    def seconds_left(self) -> float | None:
        """Return the seconds until the next delay or lease ends, of routes that are leased from."""
        names = None if self._order is None else self._order.names
        routes = self._leasable(self._known, names) if self._routed else [DEFAULT]
        collection = self._client.collection(Kind.MESSAGES)
        found: list[float] = []
        for start in range(0, len(routes), _ROUTES):
            parts = [_ending(route) for route in routes[start : start + _ROUTES]]
            pipeline = [*parts[0], *united(collection.name, parts[1:])]
            hint = READY if routes[start] is DEFAULT else ROUTED
            rows = self._client.do(lambda: list(collection.aggregate(pipeline, hint=hint)), repeatable=True)  # noqa: B023 - used at once
            found += [float(row["left"]) / 1000 for row in rows]
        return min(found, default=None)

    # -- reading ----------------------------------------------------------------------------

    def _read(self, limit: int, skip: int, order: Sequence[str] | None) -> list[Document]:
        if not self._routed:
            copies = self._read_default(limit, skip)
            # it is first in the index, and last where it is asked for behind a batch that is not
            if not copies or not (is_registry(copies[0]) or is_registry(copies[-1])):
                return copies
            self._routed = True
        return self._read_routed(limit, skip, order)

    def _read_default(self, limit: int, skip: int) -> list[Document]:
        collection = self._client.collection(Kind.MESSAGES)
        if not skip:
            ready = collection.find(READY_OR_REGISTRY, hint=READY).sort(_ORDER).limit(limit)
            # in one answer, whatever their number is
            return self._client.read(ready.batch_size(limit + 1))
        registry = united(collection.name, [[{"$match": IS_REGISTRY}]])
        pipeline = [*DEFAULT.first(READY_FILTER, limit, skip=skip), *registry]
        return self._client.do(
            lambda: list(collection.aggregate(pipeline, hint=READY, batchSize=limit + 2)), repeatable=True
        )

    def _read_routed(self, limit: int, skip: int, order: Sequence[str] | None) -> list[Document]:
        """Read from the routes that are known, and again if others are there."""
        routes = self._leasable(self._known, order)
        known, found = self._registry.read(self._parts(routes[:_ROUTES], limit, skip))
        before, self._known = self._known, known
        routes = self._leasable(known, order)
        if known.paused != before.paused or not {DEFAULT, *before.routes}.issuperset(routes):
            _, found = self._registry.read(self._parts(routes[:_ROUTES], limit, skip))
        while not found and (routes := routes[_ROUTES:]):
            _, found = self._registry.read(self._parts(routes[:_ROUTES], limit, skip))
        if known.routes and not known.noted:
            self._registry.restore()
        elif not known.routes and not known.paused:
            if known.noted:
                self._registry.forget()
            else:
                self._routed = self._order is not None
        return found

    def _parts(self, routes: Sequence[Route], limit: int, skip: int) -> list[Document]:
        """Return the stages that read from routes, until there are enough."""
        if not routes:
            return []
        parts: list[list[Document]] = []
        for route in routes:
            if skip:
                parts.append(route.first(route.ready, limit, skip=skip))
            # who has not so many is not skipped
            parts.append(route.first(route.ready, limit))
        name = self._client.collection(Kind.MESSAGES).name
        whole: list[Document] = [{"$limit": limit}, {"$replaceWith": {"message": "$$ROOT"}}]
        return united(name, [[*parts[0], *united(name, parts[1:]), *whole]])

    @staticmethod
    def _leasable(known: Known, order: Sequence[str] | None) -> list[Route]:
        """Return the routes to lease from; without an order by priority, those of one in turn."""
        routes = [one for one in (DEFAULT, *known.routes) if one.queue not in known.paused]
        if order is None:
            random.shuffle(routes)
            return sorted(routes, key=lambda one: -one.priority)
        ranks = {name: rank for rank, name in enumerate(order)}
        mine = [one for one in routes if one.queue in ranks]
        return sorted(mine, key=lambda one: (ranks[one.queue], -one.priority))

    def _set_aside(self, copies: list[Document]) -> None:
        strange = [one for one in copies if not foreign.is_message(one)]
        if any(map(is_registry, strange)):
            # what is not ours was in front of it
            self._routed = True
        foreign.set_aside(self._client, [one for one in strange if not is_registry(one)])

    # -- claiming ---------------------------------------------------------------------------

    def _claim(self, copies: list[Document]) -> list[Delivery]:
        if not copies:
            return []
        collection = self._client.collection(Kind.MESSAGES)
        parts = leases.by_token(copies)
        steps = [
            step
            for token, part in parts.items()
            for step in leases.claims(part, token, self._owner, self._seconds)
        ]
        ids = {token: [one["_id"] for one in part] for token, part in parts.items()}
        self._unknown |= ids
        claimed = self._client.do(lambda: collection.bulk_write(steps, ordered=False), repeatable=True)
        if claimed.matched_count < len(copies):
            # another worker was faster, or this is the second attempt of a claim whose answer was lost
            self._ahead = min(self._ahead * 2, _MAX_AHEAD)
            filters = [leases.held(some, token) for token, some in ids.items()]
            ours = collection.find({"$or": filters} if len(filters) > 1 else filters[0], {"_id": 1})
            kept = {one["_id"] for one in self._client.read(ours)}
            copies = [one for one in copies if one["_id"] in kept]
        elif self._ahead > 1:
            self._ahead //= 2
        found = leases.deliveries(copies, list(parts))
        for token in ids:
            del self._unknown[token]
        return found

    def release_unknown(self) -> None:
        """Release what a claim whose answer was lost may have leased."""
        while self._unknown:
            token, ids = next(iter(self._unknown.items()))
            collection = self._client.collection(Kind.MESSAGES)
            lost, change = leases.held(ids, token), leases.releasing(token)
            self._client.do(lambda: collection.update_many(lost, change), repeatable=True)  # noqa: B023 - used at once
            del self._unknown[token]


def _ending(route: Route) -> list[Document]:
    """Return a pipeline that finds how long it takes until the next delay or lease of a route ends."""
    wanted: Document = {route.field: _ENDS}
    if route.name:
        wanted["route"] = route.name
    left = {"$project": {"left": {"$subtract": [f"${route.field}", "$$NOW"]}}}
    return [*route.first(wanted, 1), left]


def united(name: str, parts: Iterable[list[Document]]) -> list[Document]:
    """Return the stages that add the documents of other pipelines of the same collection, in this order."""
    return [{"$unionWith": {"coll": name, "pipeline": part}} for part in parts]
