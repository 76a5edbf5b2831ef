"""Decides how dead letters are listed, requeued and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.model import DeadLetter
from qcore_mongo.conditions import COUNT_UP, by_route
from qcore_mongo.foreign import bytes_of, seconds_of
from qcore_mongo.indexes import Kind
from qcore_plugin_support import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_mongo.client import Client, Document

_ORDER: Final = [("dead", 1), ("seq", 1)]
_IS_DEAD: Final = {"$exists": True}
#: the change that makes a dead letter ready, with all counters at 0
_REQUEUE: Final[list[Document]] = [
    {"$set": {**by_route("$$NOW"), "version": COUNT_UP}},
    {"$unset": ["dead", "reason", "leases", "failures", "crashes"]},
]


def listed(client: Client, limit: int, after: str | None) -> list[DeadLetter]:
    """Return dead letters in the order in which they were dead-lettered."""
    letters = client.collection(Kind.MESSAGES)
    wanted: Document = {"dead": _IS_DEAD}
    if limit <= 0:
        return []
    if after is not None:
        ids = _ids([after])
        found = client.do(lambda: letters.find_one({"_id": {"$in": ids}, "dead": _IS_DEAD}), repeatable=True)
        if found is None:
            return []
        wanted = {
            "$or": [
                {"dead": {"$gt": found["dead"]}},
                {"dead": found["dead"], "seq": {"$gt": found.get("seq")}},
            ]
        }
    some = client.read(letters.find(wanted).sort(_ORDER).limit(limit))
    # only what has an id in bytes can be requeued or removed
    return [_letter(one) for one in some if isinstance(one["_id"], bytes)]


def replace(client: Client, id: str, body: bytes) -> bool:
    """Give a dead letter another body; return whether there is one of this id."""
    wanted = {"_id": {"$in": _ids([id])}, "dead": _IS_DEAD}
    letters = client.collection(Kind.MESSAGES)
    change = {"$set": {"body": body}}
    return client.do(lambda: letters.update_one(wanted, change), repeatable=True).matched_count > 0


def requeue(client: Client, ids: Sequence[str]) -> int:
    """Make dead letters ready again; return how many."""
    wanted = {"_id": {"$in": _ids(ids)}, "dead": _IS_DEAD}
    letters = client.collection(Kind.MESSAGES)
    return client.do(lambda: letters.update_many(wanted, _REQUEUE)).modified_count


def delete(client: Client, ids: Sequence[str]) -> int:
    """Remove dead letters; return how many."""
    wanted = {"_id": {"$in": _ids(ids)}, "dead": _IS_DEAD}
    letters = client.collection(Kind.MESSAGES)
    return client.do(lambda: letters.delete_many(wanted)).deleted_count


def _letter(one: Document) -> DeadLetter:
    reason = one.get("reason")
    return DeadLetter(
        one["_id"].hex(),
        bytes_of(one.get("body", b"")),
        reason if isinstance(reason, str) else f"unknown: {reason!r}"[:500],
        seconds_of(one["dead"]),
        count_of(one.get("failures")),
        count_of(one.get("crashes")),
    )


def _ids(texts: Sequence[str]) -> list[bytes]:
    """Return the ids of texts; a text that is not an id is left out."""
    found = []
    for text in texts:
        try:
            found.append(bytes.fromhex(text))
        except ValueError:
            continue
    return found
