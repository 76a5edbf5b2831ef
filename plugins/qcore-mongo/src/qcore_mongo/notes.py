"""How marks, places and turns live in MongoDB, a document each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import DuplicateKeyError

from qcore.notes import Notes
from qcore_mongo.gatherings import Gatherings
from qcore_mongo.indexes import Kind
from qcore_mongo.messages import later

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.notes import Arrival
    from qcore_mongo.link import Document, Link

#: milliseconds after which a turn nobody came for is forgotten
_DAY: Final = 86_400_000
_LIVES: Final = {"$expr": {"$gt": ["$until", "$$NOW"]}}
#: now, in milliseconds
_NOW: Final = {"$toDouble": {"$toLong": "$$NOW"}}


class MongoNotes(Notes):
    """Notes beside the queue of the same name, by the server's clock."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._gatherings = Gatherings(link)

    # -- marks ------------------------------------------------------------------------------

    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value."""
        notes = self._link.collection(Kind.NOTES)
        name = {"_id": f"mark:{key}"}
        if not value:
            self._link.do(lambda: notes.delete_one(name), again=True)
            return
        change = [{"$set": {"value": value, "until": later(ttl)}}]
        self._link.do(lambda: notes.update_one(name, change, upsert=True), again=True)

    def look(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return values in the order of `keys`."""
        names = [f"mark:{key}" for key in keys]
        if not names:
            return []
        wanted = self._link.collection(Kind.NOTES).find({"_id": {"$in": names}, **_LIVES})
        found = {one["_id"]: one["value"] for one in self._link.read(wanted)}
        return [found.get(name) for name in names]

    # -- places -----------------------------------------------------------------------------

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Take a place, or keep one's own."""
        end = later(ttl)
        mine = {"$in": [holder, "$places.holder"]}
        kept = {"$cond": [{"$eq": ["$$one.holder", holder]}, {"holder": holder, "until": end}, "$$one"]}
        again = {"$map": {"input": "$places", "as": "one", "in": kept}}
        more = {"$concatArrays": ["$places", [{"holder": holder, "until": end}]]}
        has_room = {"$lt": [{"$size": "$places"}, limit]}
        change: list[Document] = [
            {"$set": {"places": _living("$places")}},
            {"$set": {"places": {"$cond": [mine, again, {"$cond": [has_room, more, "$places"]}]}}},
            {"$set": {"until": {"$max": ["$$NOW", {"$max": "$places.until"}]}}},
        ]
        holders = [one["holder"] for one in self._change(f"places:{key}", change)["places"]]
        # with a limit of 0 nobody holds a place
        return None if holder in holders else (holders or [b""])[0]

    def release(self, places: Sequence[tuple[str, bytes]]) -> None:
        """Give places up, in one command."""
        if not places:
            return
        steps = []
        for key, holder in places:
            others = {"$filter": {"input": "$places", "cond": {"$ne": ["$$this.holder", holder]}}}
            steps.append(UpdateOne({"_id": f"places:{key}"}, [{"$set": {"places": others}}]))
        notes = self._link.collection(Kind.NOTES)
        self._link.do(lambda: notes.bulk_write(steps), again=True)

    # -- turns ------------------------------------------------------------------------------

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Return the seconds until it is the holder's turn.

        `last` is when the last turn given out would be, had there been no burst.
        """
        step = interval * 1000
        mine = {"$first": {"$filter": {"input": "$turns", "cond": {"$eq": ["$$this.holder", holder]}}}}
        others = {"$filter": {"input": "$turns", "cond": {"$ne": ["$$this.holder", holder]}}}
        earliest = {"$subtract": [_NOW, step * max(0, burst - 1)]}
        following = {"$max": [{"$add": ["$last", step]}, earliest]}
        waits = {"$gt": ["$turn", _NOW]}
        noted = {"$concatArrays": [others, [{"holder": holder, "at": "$turn"}]]}
        change: list[Document] = [
            {"$set": {"turns": _since_yesterday("$turns"), "last": {"$ifNull": ["$last", 0.0]}}},
            {"$set": {"held": {"$ifNull": [{"$getField": {"field": "at", "input": mine}}, None]}}},
            {"$set": {"turn": {"$ifNull": ["$held", following]}}},
            {"$set": {"last": {"$cond": [{"$eq": ["$held", None]}, "$turn", "$last"]}}},
            {"$set": {"turns": {"$cond": [waits, noted, others]}}},
            {"$set": {"left": {"$max": [0.0, {"$subtract": ["$turn", _NOW]}]}}},
            {"$set": {"until": {"$add": ["$$NOW", _DAY + round(step * (burst + 1))]}}},
        ]
        return float(self._change(f"turns:{key}", change, again=False)["left"]) / 1000

    # -- gatherings -------------------------------------------------------------------------

    def arrive(self, arrivals: Sequence[Arrival], ttl: float) -> Sequence[int]:
        """Note that members have come."""
        return self._gatherings.arrive(arrivals, ttl)

    def gathered(self, key: str) -> Mapping[int, bytes]:
        """Return what the members brought, by index."""
        return self._gatherings.gathered(key)

    def disband(self, keys: Sequence[str]) -> None:
        """Forget gatherings."""
        self._gatherings.disband(keys)

    def _change(self, name: str, change: list[Document], *, again: bool = True) -> Document:
        """Change a document, making it if there is none; return it as it is then."""
        notes = self._link.collection(Kind.NOTES)

        def step() -> Any:  # noqa: ANN401 - a document
            try:
                return notes.find_one_and_update(
                    {"_id": name}, change, upsert=True, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:
                # another made it at the same time
                return notes.find_one_and_update({"_id": name}, change, return_document=ReturnDocument.AFTER)

        found: Document = self._link.do(step, again=again)
        return found


def _living(places: str) -> Document:
    cond = {"$gt": ["$$this.until", "$$NOW"]}
    return {"$filter": {"input": {"$ifNull": [places, []]}, "cond": cond}}


def _since_yesterday(turns: str) -> Document:
    cond = {"$gt": ["$$this.at", {"$subtract": [_NOW, _DAY]}]}
    return {"$filter": {"input": {"$ifNull": [turns, []]}, "cond": cond}}
