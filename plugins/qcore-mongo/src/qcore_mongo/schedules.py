"""Decides how schedules are stored in MongoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from qcore.interfaces import ScheduleStore
from qcore.model import StoredSchedule
from qcore_mongo import messages, pending
from qcore_mongo.client import Client, Document
from qcore_mongo.conditions import EPOCH, later
from qcore_mongo.indexes import Kind
from qcore_mongo.registry import Registry
from qcore_mongo.routes import is_routed
from qcore_plugin_support.call_limit import each_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Broker, Settings
    from qcore.model import Outgoing

#: schedules that are not claimed, or whose claim has ended
_FREE: Final[Document] = {"$lte": [{"$ifNull": ["$claimed_until", EPOCH]}, "$$NOW"]}
_KEPT: Final[Document] = {"schedule": {"$exists": True}}

# A schedule is one document: {_id: its name, schedule: its bytes, fires, next, claimed_until, pending}.
# pending.py explains `pending`.


@each_call(lambda made: made.timeout)
class MongoSchedules(ScheduleStore):
    """Schedules in the database of the queue."""

    def __init__(self, settings: Settings) -> None:
        self._client = Client(settings)
        #: seconds for the requests of a call
        self.timeout = self._client.address.timeout
        self.transaction_domain = self._client.transaction_domain
        self._registry = Registry(self._client)

    def add(self, schedule: StoredSchedule) -> bool:
        """Store a schedule unless there is one of the same name; return whether it was stored."""
        kept = self._client.collection(Kind.SCHEDULES)
        # a removed schedule may have left a document with messages that are pending
        absent = {"_id": schedule.name, "schedule": {"$exists": False}}
        change = _replacing(schedule, [])

        def step() -> bool:
            try:
                kept.update_one(absent, change, upsert=True)
            except DuplicateKeyError:
                return False
            return True

        return self._client.do(step, repeatable=True)

    def remove(self, name: str) -> bool:
        """Delete a schedule; return whether it existed."""
        kept = self._client.collection(Kind.SCHEDULES)
        there = {"_id": name, **_KEPT}
        found = self._client.do(lambda: kept.update_one(there, _removing(name, []))).matched_count > 0
        pending.show(self._client, {"_id": name})
        return found

    def all(self) -> Sequence[StoredSchedule]:
        """Return every schedule, by name."""
        found = self._client.collection(Kind.SCHEDULES).find(_KEPT).sort("_id")
        return [_read(one) for one in self._client.read(found)]

    def get(self, name: str) -> StoredSchedule | None:
        """Return the schedule of this name."""
        found = self._found(name)
        return None if found is None else _read(found)

    def claim_due(self, now: float, limit: int, hold: float) -> Sequence[StoredSchedule]:
        """Claim due schedules one by one for `hold` seconds by the server's clock."""
        pending.show(self._client)
        kept = self._client.collection(Kind.SCHEDULES)
        due = {"fires": True, "next": {"$lte": now}, "$expr": _FREE}
        claim = [{"$set": {"claimed_until": later(hold)}}]
        found: list[StoredSchedule] = []
        while len(found) < limit:
            one = self._client.do(
                lambda: kept.find_one_and_update(
                    due, claim, sort=[("next", 1), ("_id", 1)], return_document=ReturnDocument.AFTER
                )
            )
            if one is None:
                break
            found.append(_read(one))
        return found

    def advance(self, before: StoredSchedule, after: StoredSchedule | None) -> bool:
        """Replace a schedule by `after`, or delete it, if the stored one still has the bytes of `before`."""
        return self._advance(before, after, [])

    def fire(
        self,
        broker: Broker,
        messages_: Sequence[Outgoing],
        before: StoredSchedule,
        after: StoredSchedule | None,
    ) -> bool:
        """Enqueue and advance atomically, if the queue is in the same database."""
        if broker.capabilities.transaction_domain != self.transaction_domain or not messages_:
            return super().fire(broker, messages_, before, after)
        messages.check(messages_)
        if any(map(is_routed, messages_)):
            self._registry.note()
        queue = self._client.collection(Kind.MESSAGES)
        self._client.do(lambda: messages.hide(queue, messages_), repeatable=True)
        fired = self._advance(before, after, [one.id for one in messages_])
        pending.show(self._client, {"_id": before.name})
        return fired

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _advance(self, before: StoredSchedule, after: StoredSchedule | None, ids: list[bytes]) -> bool:
        kept = self._client.collection(Kind.SCHEDULES)
        same = {"_id": before.name, "schedule": before.body}
        change = _removing(before.name, ids) if after is None else _replacing(after, ids)
        done = (
            self._client.do(
                lambda: kept.update_one(same, change), if_unknown=messages.OUTCOME_UNKNOWN
            ).matched_count
            > 0
        )
        if done and after is None and not ids:
            pending.show(self._client, {"_id": before.name})
        return done

    def _found(self, name: str) -> Document | None:
        kept = self._client.collection(Kind.SCHEDULES)
        there = {"_id": name, **_KEPT}
        return self._client.do(lambda: kept.find_one(there), repeatable=True)


def _read(one: Document) -> StoredSchedule:
    """Return a row; whoever can write to the database can put anything into it."""
    body, slot = one.get("schedule"), one.get("next")
    next_run = float(slot) if isinstance(slot, int | float) else 0.0
    sealed = body if isinstance(body, bytes) else b""
    return StoredSchedule(str(one["_id"]), sealed, next_run, bool(one.get("fires")))


def _replacing(schedule: StoredSchedule, ids: list[bytes]) -> list[Document]:
    """Return the change to this schedule; earlier pending ids stay."""
    made: Document = {
        # literal, because a text may look like the name of a field
        "_id": {"$literal": schedule.name},
        "fires": schedule.active,
        "next": schedule.next_run,
        "schedule": schedule.body,
        # a missing field is left out
        "pending": _pending(ids) if ids else "$pending",
    }
    return [{"$replaceWith": made}]


def _removing(name: str, ids: list[bytes]) -> list[Document]:
    """Return the change to a document that is deleted once nothing is pending."""
    return [{"$replaceWith": {"_id": {"$literal": name}, "fires": False, "pending": _pending(ids)}}]


def _pending(ids: list[bytes]) -> Document:
    return {"$concatArrays": [{"$ifNull": ["$pending", []]}, ids]}
