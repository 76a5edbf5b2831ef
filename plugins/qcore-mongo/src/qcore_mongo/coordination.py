"""How flags and permits are stored in MongoDB, a document each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pymongo import UpdateOne

from qcore.coordination import CoordinationStore
from qcore_mongo.conditions import later
from qcore_mongo.fan_in import Barriers
from qcore_mongo.foreign import bytes_of
from qcore_mongo.indexes import Kind
from qcore_mongo.rate_limit import RateSlots
from qcore_plugin_support.call_limit import each_call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.coordination import BarrierMember
    from qcore_mongo.client import Client, Document

_LIVES: Final = {"$expr": {"$gt": ["$until", "$$NOW"]}}


@each_call(lambda made: made.timeout)
class MongoCoordination(CoordinationStore):
    """Coordination beside the queue of the same name, by the server's clock."""

    def __init__(self, client: Client) -> None:
        self._client = client
        #: seconds for the requests of a call
        self.timeout = client.address.timeout
        self._rate_slots = RateSlots(client)
        self._barriers = Barriers(client)

    # -- flags ------------------------------------------------------------------------------

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Store a value for `ttl` seconds; b"" deletes it."""
        flags = self._client.collection(Kind.NOTES)
        name = {"_id": f"flag:{key}"}
        if not value:
            self._client.do(lambda: flags.delete_one(name), repeatable=True)
            return
        change = [{"$set": {"value": value, "until": later(ttl)}}]
        self._client.do(lambda: flags.update_one(name, change, upsert=True), repeatable=True)

    def get_flags(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return values in the order of `keys`."""
        names = [f"flag:{key}" for key in keys]
        if not names:
            return []
        wanted = self._client.collection(Kind.NOTES).find({"_id": {"$in": names}, **_LIVES})
        found = {one["_id"]: one.get("value") for one in self._client.read(wanted)}
        values = (found.get(name) for name in names)
        # a value of another type was not written here
        return [value if isinstance(value, bytes) else None for value in values]

    # -- permits -----------------------------------------------------------------------------

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Acquire or extend a permit for `ttl` seconds; return None, or the first holder if all are taken."""
        end = later(ttl)
        mine = {"$in": [holder, "$permits.holder"]}
        kept = {"$cond": [{"$eq": ["$$one.holder", holder]}, {"holder": holder, "until": end}, "$$one"]}
        extended = {"$map": {"input": "$permits", "as": "one", "in": kept}}
        more = {"$concatArrays": ["$permits", [{"holder": holder, "until": end}]]}
        has_room = {"$lt": [{"$size": "$permits"}, limit]}
        change: list[Document] = [
            {"$set": {"permits": _living("$permits")}},
            {"$set": {"permits": {"$cond": [mine, extended, {"$cond": [has_room, more, "$permits"]}]}}},
            {"$set": {"until": {"$max": ["$$NOW", {"$max": "$permits.until"}]}}},
        ]
        permits = self._client.change(Kind.NOTES, f"permits:{key}", change)["permits"]
        holders = [bytes_of(one["holder"]) for one in permits]
        # with a limit of 0 nobody holds a permit
        return None if holder in holders else (holders or [b""])[0]

    def release(self, permits: Sequence[tuple[str, bytes]]) -> None:
        """Release permits, given as (key, holder), in one command."""
        if not permits:
            return
        steps = []
        for key, holder in permits:
            others = {"$filter": {"input": _array("$permits"), "cond": {"$ne": ["$$this.holder", holder]}}}
            steps.append(UpdateOne({"_id": f"permits:{key}"}, [{"$set": {"permits": others}}]))
        flags = self._client.collection(Kind.NOTES)
        self._client.do(lambda: flags.bulk_write(steps), repeatable=True)

    # -- rate slots ------------------------------------------------------------------------------

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Return the seconds until the holder's rate slot; 0 if it may start now."""
        return self._rate_slots.reserve(key, holder, interval, burst)

    # -- barriers -------------------------------------------------------------------------

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Add members to barriers; return the number of members after each."""
        return self._barriers.join_barrier(arrivals, ttl)

    def barrier_members(self, key: str) -> Mapping[int, bytes]:
        """Return the bodies of a barrier's members by index."""
        return self._barriers.barrier_members(key)

    def delete_barriers(self, keys: Sequence[str]) -> None:
        """Delete barriers with their members."""
        self._barriers.delete_barriers(keys)

    def clear(self) -> bool:
        """Remove everything in one command."""
        kept = self._client.collection(Kind.NOTES)
        self._client.do(lambda: kept.delete_many({}), repeatable=True)
        return True

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def _living(permits: str) -> Document:
    """Return an expression for the permits that have not expired; what others have written is left out."""
    is_permit = {
        "$and": [
            {"$eq": [{"$type": "$$this.holder"}, "binData"]},
            {"$eq": [{"$type": "$$this.until"}, "date"]},
        ]
    }
    cond = {"$and": [is_permit, {"$gt": ["$$this.until", "$$NOW"]}]}
    return {"$filter": {"input": _array(permits), "cond": cond}}


def _array(field: str) -> Document:
    return {"$cond": [{"$isArray": field}, field, []]}
