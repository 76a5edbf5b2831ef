"""How gatherings live in MongoDB: one document counts, each member has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import MaxKey, MinKey, ObjectId
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import DuplicateKeyError

from qcore_mongo.indexes import Kind
from qcore_mongo.messages import later

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.collection import Collection

    from qcore.coordination import BarrierMember
    from qcore_mongo.client import Client, Document

_LIVES: Final = {"$expr": {"$gt": ["$until", "$$NOW"]}}
#: members outlive their gathering: what they brought is kept this many times as long
_LONGER: Final = 2

# A gathering is the document `gathering:<key>`:
#   run       names this gathering among those of the same key that were forgotten
#   members   indices of those who have come, `added` of those who came last
#   until     when it is forgotten
#   renewed   when its members were last told to stay
# and for each member {_id: {run, index}, body, until}.


class Gatherings:
    """Gatherings beside the queue of the same name."""

    def __init__(self, link: Client) -> None:
        self._link = link

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Keep what members bring, then count them."""
        told: dict[int, int] = {}
        by_key: dict[str, list[int]] = {}
        for number, one in enumerate(arrivals):
            by_key.setdefault(one.key, []).append(number)
        for key, numbers in by_key.items():
            counts: Sequence[int] | None = None
            while counts is None:
                counts = self._join_barrier(key, [arrivals[number] for number in numbers], ttl)
            told.update(zip(numbers, counts, strict=True))
        return [told[number] for number in range(len(arrivals))]

    def barrier_members(self, key: str) -> dict[int, bytes]:
        """Return what the members brought, by index."""
        notes = self._link.collection(Kind.NOTES)
        head = self._link.do(lambda: notes.find_one({"_id": _name(key), **_LIVES}), again=True)
        if head is None:
            return {}
        members = notes.find(_members(head["run"])).sort("_id")
        found = self._link.read(members)
        counted = set(head.get("members", ()))
        return {one["_id"]["index"]: one["body"] for one in found if one["_id"]["index"] in counted}

    def delete_barriers(self, keys: Sequence[str]) -> None:
        """Forget gatherings."""
        notes = self._link.collection(Kind.NOTES)
        for key in dict.fromkeys(keys):
            name = {"_id": _name(key)}
            head = self._link.do(lambda: notes.find_one_and_delete(name))  # noqa: B023 - used at once
            if head is not None:
                theirs = _members(head["run"])
                self._link.do(lambda: notes.delete_many(theirs), again=True)  # noqa: B023 - used at once

    def _join_barrier(self, key: str, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int] | None:
        """Return how many there are with each of these; None if it was forgotten meanwhile."""
        notes = self._link.collection(Kind.NOTES)
        head = self._link.do(lambda: _open(notes, key, ttl), again=True)
        if head["stale"]:
            stay = [{"$set": {"until": later(_LONGER * ttl)}}]
            self._link.do(lambda: notes.update_many(_members(head["run"]), stay), again=True)
        # of several of one index the first counts
        first = {one.index: one for one in reversed(arrivals)}
        steps = [_member(head["run"], one, ttl) for one in first.values()]
        self._link.do(lambda: notes.bulk_write(steps, ordered=False), again=True)
        counted = self._link.do(lambda: _count(notes, key, head["run"], list(first), ttl))
        if counted is None:
            return None
        added = set(counted["added"])
        count = len(counted["members"]) - len(added)
        told = []
        for one in arrivals:
            count += one.index in added
            added.discard(one.index)
            told.append(count)
        return told


def _name(key: str) -> str:
    return f"gathering:{key}"


def _members(run: ObjectId) -> Document:
    """Return a filter for the members of a gathering."""
    return {"_id": {"$gte": {"run": run, "index": MinKey()}, "$lte": {"run": run, "index": MaxKey()}}}


def _member(run: ObjectId, one: BarrierMember, ttl: float) -> UpdateOne:
    """Return the step that keeps what a member brought first."""
    id = {"run": run, "index": one.index}
    made = {"_id": id, "body": one.body, "until": later(_LONGER * ttl)}
    is_new = {"$eq": [{"$type": "$until"}, "missing"]}
    return UpdateOne({"_id": id}, [{"$replaceWith": {"$cond": [is_new, made, "$$ROOT"]}}], upsert=True)


def _open(notes: Collection[Document], key: str, ttl: float) -> Any:  # noqa: ANN401 - a document
    """Return the gathering, a new one if there is none or it is forgotten."""
    run = ObjectId()
    lives = {"$gt": ["$until", "$$NOW"]}
    half = round(ttl * 500)
    is_stale = {"$lt": ["$renewed", {"$subtract": ["$$NOW", half]}]}
    new = {"_id": _name(key), "run": run, "members": [], "added": [], "renewed": "$$NOW", "stale": False}
    change: list[Document] = [
        {"$replaceWith": {"$cond": [lives, "$$ROOT", new]}},
        {"$set": {"stale": is_stale, "until": {"$max": ["$until", later(ttl)]}}},
        {"$set": {"renewed": {"$cond": ["$stale", "$$NOW", "$renewed"]}}},
    ]
    told = {"run": 1, "stale": 1}
    for upsert in (True, False):
        try:
            found = notes.find_one_and_update(
                {"_id": _name(key)}, change, told, upsert=upsert, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:
            # another made it at the same time
            continue
        if found is not None:
            return found
    return _open(notes, key, ttl)


def _count(notes: Collection[Document], key: str, run: ObjectId, indices: list[int], ttl: float) -> Any:  # noqa: ANN401 - a document or None
    """Count members in; return the gathering as it is then."""
    change: list[Document] = [
        {"$set": {"added": {"$setDifference": [indices, "$members"]}}},
        {"$set": {"members": {"$concatArrays": ["$members", "$added"]}, "until": later(ttl)}},
    ]
    return notes.find_one_and_update(
        {"_id": _name(key), "run": run}, change, return_document=ReturnDocument.AFTER
    )
