"""Decides how rate slots are stored in MongoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qcore_mongo.conditions import later
from qcore_mongo.indexes import Kind

if TYPE_CHECKING:
    from qcore_mongo.client import Client, Document

#: milliseconds after which an unused rate slot is deleted
_DAY: Final = 86_400_000
#: now, in milliseconds
_NOW: Final = {"$toDouble": {"$toLong": "$$NOW"}}
#: milliseconds; no rate slot is reserved so far ahead, so what says so was not written here
_LAST_SLOT: Final = 3650 * _DAY

# The state of a rate is the document `rate:<key>`:
#   last, holder   when the last slot is, without the burst, and its holder
#   left           milliseconds until then, as of the last change
#   until          when the document expires, because the whole burst is unused again
# and for each holder that waits {_id: {rate: key, holder}, at, until}.
#
# A slot is reserved in the state first and stored for its holder then. If a process dies in between, the
# state knows the holder until the next reservation; after that the slot is lost, and no other is early.


class RateSlots:
    """Rate slots, by the server's clock."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Return the seconds until the holder's rate slot; 0 if it may start now."""
        name = {"rate": key, "holder": holder}
        left = self._waiting(name)
        if left is None:
            state = self._reserve(key, holder, interval * 1000, burst)
            left = state["left"] and self._store(name, state["last"], state["left"])
        return max(0.0, left) / 1000

    def _waiting(self, name: Document) -> float | None:
        """Return the milliseconds until a stored slot, None if there is none; delete one that has come."""
        flags = self._client.collection(Kind.NOTES)
        projection = {"at": 1, "left": {"$subtract": [_number("$at"), _NOW]}}
        found = self._client.do(lambda: flags.find_one({"_id": name}, projection), repeatable=True)
        if found is None:
            return None
        left = float(found["left"])
        if 0 < left < _LAST_SLOT:
            return left
        mine = {"_id": name, "at": found.get("at")}
        given = self._client.do(lambda: flags.find_one_and_delete(mine))
        return 0.0 if given is not None and -_DAY < left <= 0 else None

    def _reserve(self, key: str, holder: bytes, step: float, burst: int) -> Document:
        """Reserve the slot after the last one; return the state after it."""
        earliest = {"$subtract": [_NOW, step * max(0, burst - 1)]}
        following = {"$max": [{"$add": ["$last", step]}, earliest]}
        # the holder's process died before it stored the slot
        is_own = {"$and": [{"$eq": ["$holder", holder]}, {"$gt": ["$last", _NOW]}]}
        unused = {"$add": [{"$max": ["$last", _NOW]}, _DAY + step * burst]}
        change: list[Document] = [
            {"$set": {"last": {"$cond": [_is_slot(_number("$last")), _number("$last"), 0.0]}}},
            {"$set": {"last": {"$cond": [is_own, "$last", following]}, "holder": holder}},
            {"$set": {"left": {"$max": [0.0, {"$subtract": ["$last", _NOW]}]}}},
            {"$set": {"until": {"$toDate": unused}}},
        ]
        return self._client.change(Kind.NOTES, f"rate:{key}", change, repeatable=False)

    def _store(self, name: Document, at: float, left: float) -> float:
        """Store a slot; return the milliseconds until the slot that was stored first."""
        new: Document = {"_id": name, "at": at, "until": later((left + _DAY) / 1000)}
        change: list[Document] = [
            {"$replaceWith": {"$cond": [{"$and": [{"$gt": ["$at", _NOW]}, _is_slot("$at")]}, "$$ROOT", new]}},
        ]
        kept: Any = self._client.change(Kind.NOTES, name, change)["at"]
        return left + float(kept) - at


def _number(field: str) -> Document:
    """Return an expression for a number, 0 for what is missing or not a number."""
    return {"$convert": {"input": field, "to": "double", "onError": 0.0, "onNull": 0.0}}


def _is_slot(at: object) -> Document:
    """Return an expression for whether a time is one that was written here: infinity is not, nor a text."""
    return {"$and": [{"$gte": [at, 0.0]}, {"$lt": [at, {"$add": [_NOW, _LAST_SLOT]}]}]}
