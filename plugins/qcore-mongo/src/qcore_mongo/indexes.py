"""Defines the collections and their indexes."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: the fields of the index of messages that are ready, delayed or leased, in the order of leasing
READY: Final = {"at": ASCENDING, "seq": ASCENDING}
#: the fields of the index of messages that have a queue or a priority; a route is both
ROUTED: Final = {"route": ASCENDING, "due": ASCENDING, "seq": ASCENDING}
#: the options of an index that change what it is good for
_OPTIONS: Final = (
    "unique",
    "sparse",
    "hidden",
    "collation",
    "expireAfterSeconds",
    "partialFilterExpression",
)


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
        IndexModel(list(READY.items()), name="qcore_ready"),
        _partial("qcore_routed", *ROUTED),
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


def missing(kind: Kind, existing: Iterable[Mapping[str, Any]]) -> list[IndexModel]:
    """Return the indexes that a collection lacks; an index like ours may have another name."""
    there = list(existing)
    return [one for one in INDEXES[kind] if not any(_serves(other, one.document) for other in there)]


def _serves(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    if list(there["key"].items()) != list(wanted["key"].items()):
        return False
    same = all(there.get(option) == wanted.get(option) for option in _OPTIONS)
    return same or there["name"] == wanted["name"]
