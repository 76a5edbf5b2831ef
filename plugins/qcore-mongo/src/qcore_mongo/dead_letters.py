"""How dead letters are listed, made ready again and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.model import DeadLetter
from qcore_mongo.indexes import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_mongo.client import Client, Document

_ORDER: Final = [("buried", 1), ("seq", 1)]
_IS_BURIED: Final = {"$exists": True}
#: what is left of a message that begins anew
_ANEW: Final[list[Document]] = [
    {"$set": {"at": "$$NOW", "version": {"$add": [{"$ifNull": ["$version", 0]}, 1]}}},
    {"$unset": ["buried", "reason", "leases", "failures", "crashes"]},
]


def listed(link: Client, limit: int, after: str | None) -> list[DeadLetter]:
    """Return dead letters in the order they were buried."""
    letters = link.collection(Kind.MESSAGES)
    wanted: Document = {"buried": _IS_BURIED}
    if limit <= 0:
        return []
    if after is not None:
        ids = _ids([after])
        found = link.do(lambda: letters.find_one({"_id": {"$in": ids}, "buried": _IS_BURIED}), again=True)
        if found is None:
            return []
        wanted = {
            "$or": [
                {"buried": {"$gt": found["buried"]}},
                {"buried": found["buried"], "seq": {"$gt": found["seq"]}},
            ]
        }
    return [_letter(one) for one in link.read(letters.find(wanted).sort(_ORDER).limit(limit))]


def requeue(link: Client, ids: Sequence[str]) -> int:
    """Make dead letters ready again; return how many."""
    wanted = {"_id": {"$in": _ids(ids)}, "buried": _IS_BURIED}
    letters = link.collection(Kind.MESSAGES)
    return link.do(lambda: letters.update_many(wanted, _ANEW)).modified_count


def delete(link: Client, ids: Sequence[str]) -> int:
    """Remove dead letters for good; return how many."""
    wanted = {"_id": {"$in": _ids(ids)}, "buried": _IS_BURIED}
    letters = link.collection(Kind.MESSAGES)
    return link.do(lambda: letters.delete_many(wanted)).deleted_count


def _letter(one: Document) -> DeadLetter:
    return DeadLetter(
        one["_id"].hex(),
        one["body"],
        one["reason"],
        one["buried"].timestamp(),
        one.get("failures", 0),
        one.get("crashes", 0),
    )


def _ids(texts: Sequence[str]) -> list[bytes]:
    """Return the ids that texts stand for; what stands for none is left out."""
    found = []
    for text in texts:
        try:
            found.append(bytes.fromhex(text))
        except ValueError:
            continue
    return found
