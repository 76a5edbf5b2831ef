"""Decides how fan-in barriers are stored in MongoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import MaxKey, MinKey, ObjectId
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import DuplicateKeyError

from qcore_mongo.conditions import later
from qcore_mongo.indexes import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.collection import Collection

    from qcore.coordination import BarrierMember
    from qcore_mongo.client import Client, Document

_LIVES: Final = {"$expr": {"$gt": ["$until", "$$NOW"]}}
#: a member is kept this many times as long as its barrier, from the time it joins or is extended
_LONGER: Final = 2
#: members are extended once they are kept less than this many times as long as their barrier
_LONG_ENOUGH: Final = 1.5

# A barrier is the document `barrier:<key>`:
#   run       identifies this barrier among expired ones of the same key
#   members   indices of its members; `added`: those of the last call
#   until     when it expires
#   kept      no member expires before this
# and for each member {_id: {run, index}, body, until}.


class Barriers:
    """Fan-in barriers, by the server's clock."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Store members, then count them."""
        totals: dict[int, int] = {}
        by_key: dict[str, list[int]] = {}
        for number, one in enumerate(arrivals):
            by_key.setdefault(one.key, []).append(number)
        for key, numbers in by_key.items():
            counts: Sequence[int] | None = None
            while counts is None:
                counts = self._join_barrier(key, [arrivals[number] for number in numbers], ttl)
            totals.update(zip(numbers, counts, strict=True))
        return [totals[number] for number in range(len(arrivals))]

    def barrier_members(self, key: str) -> dict[int, bytes]:
        """Return the bodies of the members by index."""
        flags = self._client.collection(Kind.NOTES)
        barrier = self._client.do(lambda: flags.find_one({"_id": _name(key), **_LIVES}), repeatable=True)
        if barrier is None or "run" not in barrier:
            return {}
        members = flags.find(_members(barrier["run"])).sort("_id")
        found = self._client.read(members)
        counted = barrier.get("members")
        indices = {one for one in counted if isinstance(one, int)} if isinstance(counted, list) else set()
        bodies = {one["_id"]["index"]: one.get("body") for one in found if one["_id"]["index"] in indices}
        return {index: body for index, body in bodies.items() if isinstance(body, bytes)}

    def delete_barriers(self, keys: Sequence[str]) -> None:
        """Delete barriers with their members."""
        flags = self._client.collection(Kind.NOTES)
        for key in dict.fromkeys(keys):
            name = {"_id": _name(key)}
            barrier = self._client.do(lambda: flags.find_one_and_delete(name))  # noqa: B023 - used at once
            if barrier is not None and "run" in barrier:
                theirs = _members(barrier["run"])
                self._client.do(lambda: flags.delete_many(theirs), repeatable=True)  # noqa: B023 - used at once

    def _join_barrier(self, key: str, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int] | None:
        """Return the number of members after each of these; None if the barrier has expired meanwhile."""
        flags = self._client.collection(Kind.NOTES)
        barrier = self._client.do(lambda: _open(flags, key, ttl), repeatable=True)
        if barrier["stale"]:
            stay = [{"$set": {"until": later(_LONGER * ttl)}}]
            self._client.do(lambda: flags.update_many(_members(barrier["run"]), stay), repeatable=True)
        # of several members with one index the first takes effect
        first = {one.index: one for one in reversed(arrivals)}
        steps = [_member(barrier["run"], one, ttl) for one in first.values()]
        self._client.do(lambda: flags.bulk_write(steps, ordered=False), repeatable=True)
        counted = self._client.do(lambda: _count(flags, key, barrier, list(first), ttl))
        if counted is None:
            return None
        added = set(counted["added"])
        count = len(counted["members"]) - len(added)
        totals = []
        for one in arrivals:
            count += one.index in added
            added.discard(one.index)
            totals.append(count)
        return totals


def _name(key: str) -> str:
    return f"barrier:{key}"


def _members(run: ObjectId) -> Document:
    """Return a filter for the members of a barrier."""
    return {"_id": {"$gte": {"run": run, "index": MinKey()}, "$lte": {"run": run, "index": MaxKey()}}}


def _member(run: ObjectId, one: BarrierMember, ttl: float) -> UpdateOne:
    """Return the step that stores a member unless it exists."""
    id = {"run": run, "index": one.index}
    made = {"_id": id, "body": one.body, "until": later(_LONGER * ttl)}
    is_new = {"$eq": [{"$type": "$until"}, "missing"]}
    return UpdateOne({"_id": id}, [{"$replaceWith": {"$cond": [is_new, made, "$$ROOT"]}}], upsert=True)


def _open(flags: Collection[Document], key: str, ttl: float) -> Any:  # noqa: ANN401 - a document
    """Return the barrier, a new one if there is none or it has expired."""
    run = ObjectId()
    # a document that others have written is replaced
    is_barrier = [{"$isArray": "$members"}, {"$eq": [{"$type": "$run"}, "objectId"]}]
    lives = {"$and": [*is_barrier, {"$gt": ["$until", "$$NOW"]}]}
    kept = later(_LONGER * ttl)
    new = {"_id": _name(key), "run": run, "members": [], "added": [], "kept": kept}
    change: list[Document] = [
        {"$replaceWith": {"$cond": [lives, "$$ROOT", new]}},
        {"$set": {"stale": {"$lt": ["$kept", later(_LONG_ENOUGH * ttl)]}}},
        # a member that joins now may be kept for a shorter time than the others
        {"$set": {"kept": {"$min": ["$kept", kept]}, "until": {"$max": ["$until", later(ttl)]}}},
    ]
    projection = {"run": 1, "stale": 1}
    for upsert in (True, False):
        try:
            found = flags.find_one_and_update(
                {"_id": _name(key)}, change, projection, upsert=upsert, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:
            # another process created it at the same time
            continue
        if found is not None:
            return found
    return _open(flags, key, ttl)


def _count(flags: Collection[Document], key: str, barrier: Document, indices: list[int], ttl: float) -> Any:  # noqa: ANN401 - a document or None
    """Add members to the count; return the barrier after it."""
    change: list[Document] = [
        {"$set": {"added": {"$setDifference": [indices, "$members"]}}},
        {"$set": {"members": {"$concatArrays": ["$members", "$added"]}, "until": later(ttl)}},
    ]
    if barrier["stale"]:
        # not before its members are extended: this process may die before that
        change.append({"$set": {"kept": later(_LONGER * ttl)}})
    return flags.find_one_and_update(
        {"_id": _name(key), "run": barrier["run"]}, change, return_document=ReturnDocument.AFTER
    )
