"""Defines the collections and their indexes."""

from __future__ import annotations

import enum
from typing import Final

from pymongo import ASCENDING, DESCENDING, IndexModel

#: index of messages that are ready, delayed or leased, in the order of leasing
READY: Final = "qcore_ready"


class Kind(enum.Enum):
    """A collection of a queue."""

    MESSAGES = "messages"
    RESULTS = "results"
    SCHEDULES = "schedules"
    NOTES = "notes"
    STATUSES = "statuses"

    def collection(self, queue: str) -> str:
        """Return the collection's name, which no other queue uses."""
        return f"qcore.{queue}.{self.value}"


def _partial(name: str, *fields: str) -> IndexModel:
    """Return an index that contains only documents that have its first field."""
    where = {fields[0]: {"$exists": True}}
    return IndexModel([(field, ASCENDING) for field in fields], name=name, partialFilterExpression=where)


def _expiring(name: str, field: str) -> IndexModel:
    """Return an index by which the server removes expired documents; those without the field stay."""
    return IndexModel([(field, ASCENDING)], name=name, expireAfterSeconds=0, sparse=True)


#: collection -> its indexes beside that of `_id`
INDEXES: Final = {
    Kind.MESSAGES: (
        IndexModel([("at", ASCENDING), ("seq", ASCENDING)], name=READY),
        _partial("qcore_leased", "owner"),
        _partial("qcore_dead", "dead", "seq"),
        _expiring("qcore_hidden", "hidden"),
    ),
    Kind.RESULTS: (
        IndexModel(
            [("state", ASCENDING), ("finished", DESCENDING), ("_id", DESCENDING)], name="qcore_recent"
        ),
        _partial("qcore_group", "group", "finished", "_id"),
        _expiring("qcore_expired", "gone"),
    ),
    Kind.SCHEDULES: (
        IndexModel([("fires", ASCENDING), ("next", ASCENDING)], name="qcore_due"),
        _partial("qcore_pending", "pending"),
    ),
    Kind.NOTES: (_expiring("qcore_expired", "until"),),
    Kind.STATUSES: (_expiring("qcore_expired", "until"),),
}
