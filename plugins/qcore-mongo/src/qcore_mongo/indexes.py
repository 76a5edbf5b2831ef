"""Which collections and indexes there are."""

from __future__ import annotations

import enum
from typing import Final

from pymongo import ASCENDING, DESCENDING, IndexModel

#: what may be leased, in order; waits for nothing but the clock
READY: Final = "qcore_ready"


class Kind(enum.Enum):
    """A collection of a queue."""

    MESSAGES = "messages"
    RESULTS = "results"
    SCHEDULES = "schedules"
    NOTES = "notes"
    STATUSES = "statuses"

    def collection(self, queue: str) -> str:
        """Return its name; no other queue has it."""
        return f"qcore.{queue}.{self.value}"


def _partial(name: str, *fields: str) -> IndexModel:
    """Return an index of those documents only that have its first field."""
    where = {fields[0]: {"$exists": True}}
    return IndexModel([(field, ASCENDING) for field in fields], name=name, partialFilterExpression=where)


def _forgetting(name: str, field: str) -> IndexModel:
    """Return an index by which the server removes what is past its time; what has no time is not in it."""
    return IndexModel([(field, ASCENDING)], name=name, expireAfterSeconds=0, sparse=True)


#: collection -> its indexes beside that of `_id`
INDEXES: Final = {
    Kind.MESSAGES: (
        IndexModel([("at", ASCENDING), ("seq", ASCENDING)], name=READY),
        _partial("qcore_leased", "owner"),
        _partial("qcore_buried", "buried", "seq"),
        _forgetting("qcore_hidden", "hidden"),
    ),
    Kind.RESULTS: (
        IndexModel(
            [("state", ASCENDING), ("finished", DESCENDING), ("_id", DESCENDING)], name="qcore_recent"
        ),
        _partial("qcore_group", "group", "finished", "_id"),
        _forgetting("qcore_expired", "gone"),
    ),
    Kind.SCHEDULES: (
        IndexModel([("fires", ASCENDING), ("next", ASCENDING)], name="qcore_due"),
        _partial("qcore_pending", "pending"),
    ),
    Kind.NOTES: (_forgetting("qcore_expired", "until"),),
    Kind.STATUSES: (_forgetting("qcore_expired", "until"),),
}
