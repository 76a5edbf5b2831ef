"""How flags and permits are stored in MongoDB, a document each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pymongo import UpdateOne

from qcore.coordination import CoordinationStore
from qcore_mongo.fan_in import Gatherings
from qcore_mongo.indexes import Kind
from qcore_mongo.messages import later
from qcore_mongo.rate_limit import Turns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.coordination import BarrierMember
    from qcore_mongo.client import Client, Document

_LIVES: Final = {"$expr": {"$gt": ["$until", "$$NOW"]}}


class MongoCoordination(CoordinationStore):
    """Coordination beside the queue of the same name, by the server's clock."""

    def __init__(self, link: Client) -> None:
        self._link = link
        self._turns = Turns(link)
        self._gatherings = Gatherings(link)

    # -- marks ------------------------------------------------------------------------------

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value."""
        notes = self._link.collection(Kind.NOTES)
        name = {"_id": f"mark:{key}"}
        if not value:
            self._link.do(lambda: notes.delete_one(name), again=True)
            return
        change = [{"$set": {"value": value, "until": later(ttl)}}]
        self._link.do(lambda: notes.update_one(name, change, upsert=True), again=True)

    def get_flags(self, keys: Sequence[str]) -> Sequence[bytes | None]:
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
        holders = [one["holder"] for one in self._link.change(Kind.NOTES, f"places:{key}", change)["places"]]
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
        """Return the seconds until it is the holder's turn."""
        return self._turns.reserve(key, holder, interval, burst)

    # -- gatherings -------------------------------------------------------------------------

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Note that members have come."""
        return self._gatherings.join_barrier(arrivals, ttl)

    def barrier_members(self, key: str) -> Mapping[int, bytes]:
        """Return what the members brought, by index."""
        return self._gatherings.barrier_members(key)

    def delete_barriers(self, keys: Sequence[str]) -> None:
        """Forget gatherings."""
        self._gatherings.delete_barriers(keys)

    def close(self) -> None:
        """Close the client."""
        self._link.close()


def _living(places: str) -> Document:
    cond = {"$gt": ["$$this.until", "$$NOW"]}
    return {"$filter": {"input": {"$ifNull": [places, []]}, "cond": cond}}
