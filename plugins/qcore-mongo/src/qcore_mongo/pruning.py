"""Decides which results are pruned, and how many at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from qcore.model import State
from qcore_mongo.indexes import Kind

if TYPE_CHECKING:
    from qcore.interfaces import Per
    from qcore_mongo.client import Client, Document

#: results deleted in one command
_BULK: Final = 5000
_NEWEST: Final = {"finished": -1, "_id": -1}
_SUCCESS: Final[Document] = {"state": int(State.SUCCESS)}


def prune(client: Client, keep: int, per: Per | None) -> int:
    """Delete expired results and the oldest successes beyond `keep`; return how many."""
    results = client.collection(Kind.RESULTS)
    expired = {"gone": {"$lte": datetime.now(UTC)}}
    count = client.do(lambda: results.delete_many(expired)).deleted_count
    if keep < 0:
        return count
    surplus = _all(keep) if per is None else _each(keep, per)
    while True:
        some = client.do(lambda: list(results.aggregate([*surplus, {"$limit": _BULK}], allowDiskUse=True)))
        ids = [one["_id"] for one in some]
        if ids:
            # another process may have deleted some; a success is never replaced
            count += client.do(lambda: results.delete_many({"_id": {"$in": ids}})).deleted_count  # noqa: B023 - used at once
        if len(ids) < _BULK:
            return count


def _all(keep: int) -> list[Document]:
    """Return a pipeline that finds all successes but the newest `keep`, by an index."""
    return [{"$match": _SUCCESS}, {"$sort": _NEWEST}, {"$skip": keep}, {"$project": {"_id": 1}}]


def _each(keep: int, per: Per) -> list[Document]:
    """Return a pipeline that finds them for each value of a field; it reads every success."""
    return [
        {"$match": _SUCCESS},
        {
            "$project": {
                "value": {"$ifNull": [f"${per}", None]},
                # `$documentNumber` sorts by one field only
                "age": {"finished": "$finished", "id": "$_id"},
            }
        },
        {
            "$setWindowFields": {
                "partitionBy": "$value",
                "sortBy": {"age": -1},
                "output": {"number": {"$documentNumber": {}}},
            }
        },
        {"$match": {"number": {"$gt": keep}}},
        {"$project": {"_id": 1}},
    ]
