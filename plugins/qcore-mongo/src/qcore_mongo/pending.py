"""How a slot is fired in one step without a transaction."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qcore_mongo import messages
from qcore_mongo.indexes import Kind

if TYPE_CHECKING:
    from qcore_mongo.client import Client, Document

_log = logging.getLogger("qcore_mongo.pending")

# Whoever dies within a transaction leaves it behind for a minute, locks and all, and a server alone
# has none. So the messages of a slot are inserted hidden; then one change of one document advances
# the schedule and notes their ids in its `pending`. From then on they are messages, and whoever comes
# first shows them: who fired, who claims a slot next, or a worker that finds the queue empty. Showing
# them twice changes nothing, even if they have run meanwhile.


def show(link: Client, wanted: Document | None = None) -> None:
    """Show what fired schedules have noted, and forget those that are done."""
    kept = link.collection(Kind.SCHEDULES)
    found = kept.find({**(wanted or {}), "pending": {"$exists": True}}, {"pending": 1, "schedule": 1})
    for one in link.read(found):
        _show(link, one)


def _show(link: Client, one: Document) -> None:
    kept, queue = link.collection(Kind.SCHEDULES), link.collection(Kind.MESSAGES)
    there = {"_id": one["_id"], "pending": {"$exists": True}}
    ids = one["pending"]
    missing = link.do(lambda: messages.show(queue, ids), again=True) if ids else []
    # more may have come since
    left = {"$setDifference": ["$pending", ids]}
    change = [{"$set": {"pending": {"$cond": [{"$eq": [left, []]}, "$$REMOVE", left]}}}]
    before = link.do(lambda: kept.find_one_and_update(there, change, {"pending": 1}), again=True)
    # what another has forgotten he has shown, and it may have run
    noted = set(before["pending"]) if before else set()
    if lost := [id.hex() for id in missing if id in noted]:
        _log.warning(
            "%d of %d messages of the schedule %s are gone: they were removed before anybody showed them,"
            " or whoever did died at once and they have run: %s",
            len(lost), len(ids), one["_id"], ", ".join(lost),
        )  # fmt: skip
    if "schedule" not in one:
        # it was removed, and waited for its last messages only
        over = {"_id": one["_id"], "schedule": {"$exists": False}, "pending": {"$exists": False}}
        link.do(lambda: kept.delete_one(over), again=True)
