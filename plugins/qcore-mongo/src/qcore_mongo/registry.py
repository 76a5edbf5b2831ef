"""Remembers that there are queues or priorities, and which queues are paused."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from qcore_mongo import foreign
from qcore_mongo.conditions import ANY_ROUTE, FIRST
from qcore_mongo.indexes import ROUTED, Kind
from qcore_mongo.routes import Route, route_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qcore_mongo.client import Client, Document

_log = logging.getLogger("qcore_mongo")

# The registry is one document among the messages:
#   _id      `queues`
#   at       before all that is ready in the index that a lease reads, which so finds it without a look for it
#   used     when a producer last enqueued something with a queue or a priority, a minute ago or less
#   paused   names of queues
# Who uses neither has none. It is written before the messages, and removed when there have been none for
# a while. The names of routes are not in it: the index of routes has each once, for one step.

ID: Final = "queues"
IS_REGISTRY: Final[Document] = {"_id": ID}
#: seconds for which a producer relies on what it has written
_NOTED: Final = 60.0
#: seconds after the last use until it may be removed; who has stood still for so long notes it again
_UNUSED: Final = 600.0
#: documents of a route that is none, which are set aside at once
_STRANGE: Final = 100
#: names and messages; a larger answer is fetched in parts
_IN_ONE_ANSWER: Final = 10_000
#: documents of any route; each name is one step in the index
_NAMES: Final[list[Document]] = [
    {"$match": ANY_ROUTE},
    {"$sort": {"route": 1}},
    {"$group": {"_id": "$route"}},
]
_PAUSED: Final[Document] = {"$cond": [{"$isArray": "$paused"}, "$paused", []]}


class Known(NamedTuple):
    """What was read of the routes."""

    #: those that have messages, in any state
    routes: tuple[Route, ...] = ()
    #: queues from which nothing is leased
    paused: frozenset[str] = frozenset()
    #: whether the registry is there
    noted: bool = False


class Registry:
    """The registry of one queue."""

    def __init__(self, client: Client) -> None:
        self._client = client
        #: monotonic seconds
        self._noted_until = 0.0
        self._forget_at = 0.0

    def note(self) -> None:
        """Have workers look for routes; called before messages are written, and again behind them."""
        now = time.monotonic()
        if now >= self._noted_until:
            self._client.change(Kind.MESSAGES, ID, [{"$set": {"at": FIRST, "used": "$$NOW"}}])
            self._noted_until = now + _NOTED

    def restore(self) -> None:
        """Note it if there are routes: a registry may be lost, in an old copy of the database."""
        messages = self._client.collection(Kind.MESSAGES)
        if self._client.read(messages.find(ANY_ROUTE, {"_id": 1}, hint=ROUTED).limit(1)):
            self._noted_until = 0.0
            self.note()

    def read(self, more: Iterable[Document] = ()) -> tuple[Known, list[Document]]:
        """Read the names of routes and the registry, in one command; other values are set aside.

        Args:
            more: stages behind it.

        Returns:
            what is known, and the documents of `more` that are in a field `message`.

        """
        messages = self._client.collection(Kind.MESSAGES)
        only = [{"$match": IS_REGISTRY}, {"$replaceWith": {"registry": "$$ROOT"}}]
        pipeline = [*_NAMES, {"$unionWith": {"coll": messages.name, "pipeline": only}}, *more]
        rows = self._client.do(
            lambda: list(messages.aggregate(pipeline, hint=ROUTED, batchSize=_IN_ONE_ANSWER)), repeatable=True
        )
        names, found = [], []
        registry: Document | None = None
        for row in rows:
            if "message" in row:
                found.append(row["message"])
            elif "registry" in row:
                registry = row["registry"] if is_registry(row["registry"]) else None
            else:
                names.append(row["_id"])
        routes = tuple(filter(None, map(route_of, names)))
        if len(routes) < len(names):
            self._set_aside([name for name in names if route_of(name) is None])
        return Known(routes, _paused(registry), registry is not None), found

    def pause(self, queue: str, *, paused: bool) -> None:
        """Pause a queue, or resume it."""
        names = {"$setUnion" if paused else "$setDifference": [_PAUSED, {"$literal": [queue]}]}
        change = [{"$set": {"at": FIRST, "used": "$$NOW", "paused": names}}]
        if paused:
            self._client.change(Kind.MESSAGES, ID, change)
            return
        messages = self._client.collection(Kind.MESSAGES)
        self._client.do(lambda: messages.update_one({"_id": ID}, change), repeatable=True)

    def is_paused(self, queue: str) -> bool:
        """Return whether a queue is paused."""
        messages = self._client.collection(Kind.MESSAGES)
        return queue in _paused(self._client.do(lambda: messages.find_one({"_id": ID}), repeatable=True))

    def forget(self) -> None:
        """Remove the registry if nobody has used a route for a while, and no queue is paused."""
        now = time.monotonic()
        if now < self._forget_at:
            return
        self._forget_at = now + _NOTED
        before = {"$subtract": ["$$NOW", round(_UNUSED * 1000)]}
        unused = {"_id": ID, "paused.0": {"$exists": False}, "$expr": {"$lt": ["$used", before]}}
        messages = self._client.collection(Kind.MESSAGES)
        self._client.do(lambda: messages.delete_one(unused), repeatable=True)

    def _set_aside(self, names: list[str]) -> None:
        messages = self._client.collection(Kind.MESSAGES)
        strange = messages.find({"route": {"$in": names}}).limit(_STRANGE)
        foreign.set_aside(self._client, self._client.read(strange))


def is_registry(one: Document) -> bool:
    """Return whether a document is the registry."""
    return one["_id"] == ID and one.get("at") == FIRST


def _paused(found: Document | None) -> frozenset[str]:
    names = (found or {}).get("paused")
    # whoever can write to the database can put anything into it
    if not isinstance(names, list):
        return frozenset()
    return frozenset(name for name in names if isinstance(name, str))
