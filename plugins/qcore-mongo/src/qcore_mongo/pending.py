"""Decides how a slot is fired atomically without a transaction."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qcore_mongo import messages
from qcore_mongo.indexes import Kind

if TYPE_CHECKING:
    from qcore_mongo.client import Client, Document

_log = logging.getLogger("qcore_mongo.pending")

# A process that dies within a transaction leaves its locks for a minute, and a standalone server has no
# transactions. So the messages of a slot are inserted hidden; then one change of one document advances the
# schedule and adds their ids to its `pending`. From then on they count as enqueued. They are shown by the
# process that fired, the next that claims a slot, or a worker that finds the queue empty. Showing them
# twice changes nothing, even if they have run meanwhile.


def show(client: Client, wanted: Document | None = None) -> None:
    """Show the pending messages of fired schedules, and clear their `pending`."""
    kept = client.collection(Kind.SCHEDULES)
    found = kept.find({**(wanted or {}), "pending": {"$exists": True}}, {"pending": 1, "schedule": 1})
    for one in client.read(found):
        _show(client, one)


def _show(client: Client, one: Document) -> None:
    kept, queue = client.collection(Kind.SCHEDULES), client.collection(Kind.MESSAGES)
    there = {"_id": one["_id"], "pending": {"$exists": True}}
    if not isinstance(one["pending"], list):
        _log.error("the pending messages of the schedule %r are not a list: %r", one["_id"], one["pending"])
        client.do(lambda: kept.update_one(there, {"$unset": {"pending": ""}}), repeatable=True)
        return
    ids = one["pending"]
    missing = client.do(lambda: messages.show(queue, ids), repeatable=True) if ids else []
    # more ids may have been added since
    left = {"$setDifference": ["$pending", ids]}
    change = [{"$set": {"pending": {"$cond": [{"$eq": [left, []]}, "$$REMOVE", left]}}}]
    before = client.do(lambda: kept.find_one_and_update(there, change, {"pending": 1}), repeatable=True)
    # an id that another process cleared was shown by it, and may have run
    noted = before["pending"] if before else []
    if lost := [id.hex() for id in missing if id in noted and isinstance(id, bytes)]:
        _log.warning(
            "messages of the schedule %s that do not exist, because they were removed before they were shown,"
            " or have run and the process that showed them died: %d of %d: %s",
            one["_id"], len(lost), len(ids), ", ".join(lost),
        )  # fmt: skip
    if "schedule" not in one:
        # the schedule was removed, and its document only kept the pending messages
        over = {"_id": one["_id"], "schedule": {"$exists": False}, "pending": {"$exists": False}}
        client.do(lambda: kept.delete_one(over), repeatable=True)
