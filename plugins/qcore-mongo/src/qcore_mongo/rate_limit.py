"""How turns live in MongoDB: one head, a document for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qcore_mongo.indexes import Kind
from qcore_mongo.messages import later

if TYPE_CHECKING:
    from qcore_mongo.client import Client, Document

#: milliseconds after which a turn nobody came for is forgotten
_DAY: Final = 86_400_000
#: now, in milliseconds
_NOW: Final = {"$toDouble": {"$toLong": "$$NOW"}}
#: what a head held while those who wait were an array in it, of at most 16 MB
_OLD: Final = ["turns", "held", "turn"]

# The head of a rate is the document `turns:<key>`:
#   last, holder   when the last turn given out is, had there been no burst, and whose it is
#   left           milliseconds until then, as of the last change
#   until          when it is as if there had been no turn
# and for each who waits {_id: {turn: key, holder}, at, until}.
#
# A turn is taken in the head first and noted then. Whoever dies between the two is known to the head
# until the next comes; after that his turn is lost, and no other is early.


class Turns:
    """Turns beside the queue of the same name, by the server's clock."""

    def __init__(self, link: Client) -> None:
        self._link = link

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Return the seconds until it is the holder's turn."""
        name = {"turn": key, "holder": holder}
        left = self._waiting(name)
        if left is None:
            head = self._take(key, holder, interval * 1000, burst)
            left = head["left"] and self._note(name, head["last"], head["left"])
        return max(0.0, left) / 1000

    def _waiting(self, name: Document) -> float | None:
        """Return the milliseconds until a turn that is noted; one that has come is given to the first."""
        notes = self._link.collection(Kind.NOTES)
        told = {"at": 1, "left": {"$subtract": ["$at", _NOW]}}
        found = self._link.do(lambda: notes.find_one({"_id": name}, told), again=True)
        if found is None:
            return None
        left = float(found["left"])
        if left > 0:
            return left
        mine = {"_id": name, "at": found["at"]}
        given = self._link.do(lambda: notes.find_one_and_delete(mine))
        return 0.0 if given is not None and left > -_DAY else None

    def _take(self, key: str, holder: bytes, step: float, burst: int) -> Document:
        """Give out the turn behind the last; return the head as it is then."""
        earliest = {"$subtract": [_NOW, step * max(0, burst - 1)]}
        following = {"$max": [{"$add": [{"$ifNull": ["$last", 0.0]}, step]}, earliest]}
        # he did not come to note it
        is_his = {"$and": [{"$eq": ["$holder", holder]}, {"$gt": ["$last", _NOW]}]}
        unused = {"$add": [{"$max": ["$last", _NOW]}, _DAY + step * burst]}
        change: list[Document] = [
            {"$set": {"last": {"$cond": [is_his, "$last", following]}, "holder": holder}},
            {"$set": {"left": {"$max": [0.0, {"$subtract": ["$last", _NOW]}]}}},
            {"$set": {"until": {"$toDate": unused}}},
            {"$unset": _OLD},
        ]
        return self._link.change(Kind.NOTES, f"turns:{key}", change, again=False)

    def _note(self, name: Document, at: float, left: float) -> float:
        """Keep a turn that is waited for; return the milliseconds until the one that was kept first."""
        new: Document = {"_id": name, "at": at, "until": later((left + _DAY) / 1000)}
        change: list[Document] = [
            {"$replaceWith": {"$cond": [{"$gt": ["$at", _NOW]}, "$$ROOT", new]}},
        ]
        kept: Any = self._link.change(Kind.NOTES, name, change)["at"]
        return left + float(kept) - at
