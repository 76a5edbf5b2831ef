"""Decides how schedules live in MongoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from pymongo import ReturnDocument

from qcore.interfaces import ScheduleStore
from qcore.model import Schedule
from qcore_mongo import messages, pending
from qcore_mongo.client import Client, Document
from qcore_mongo.indexes import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Broker, Settings
    from qcore.model import Outgoing

_encode = msgspec.msgpack.Encoder().encode
#: nobody has claimed it, or the claim has ended
_FREE: Final[Document] = {"$lte": [{"$ifNull": ["$held", messages.EPOCH]}, "$$NOW"]}
_KEPT: Final[Document] = {"schedule": {"$exists": True}}

# A schedule is one document: {_id: its name, schedule: all of it, fires, next, held, pending}.
# What `pending` is for is told in pending.py.
#


class MongoSchedules(ScheduleStore):
    """Schedules beside the queue of the same name."""

    def __init__(self, settings: Settings) -> None:
        self._link = Client(settings)
        self._decode = msgspec.msgpack.Decoder(Schedule).decode
        self.backend = self._link.backend

    def add(self, schedule: Schedule) -> None:
        """Keep a schedule; one of the same name is replaced."""
        kept = self._link.collection(Kind.SCHEDULES)
        change = _replacing(schedule, [])
        self._link.do(lambda: kept.update_one({"_id": schedule.name}, change, upsert=True), again=True)

    def remove(self, name: str) -> bool:
        """Forget a schedule."""
        kept = self._link.collection(Kind.SCHEDULES)
        there = {"_id": name, **_KEPT}
        found = self._link.do(lambda: kept.update_one(there, _removing(name, []))).matched_count > 0
        pending.show(self._link, {"_id": name})
        return found

    def all(self) -> Sequence[Schedule]:
        """Return every schedule, by name."""
        found = self._link.collection(Kind.SCHEDULES).find(_KEPT).sort("_id")
        return [self._read(one) for one in self._link.read(found)]

    def get(self, name: str) -> Schedule | None:
        """Return the schedule of this name."""
        found = self._found(name)
        return None if found is None else self._read(found)

    def claim_due(self, now: float, limit: int, hold: float) -> Sequence[Schedule]:
        """Claim what is due, one by one; the claim ends by the server's clock."""
        pending.show(self._link)
        kept = self._link.collection(Kind.SCHEDULES)
        due = {"fires": True, "next": {"$lte": now}, "$expr": _FREE}
        claim = [{"$set": {"held": messages.later(hold)}}]
        found: list[Schedule] = []
        while len(found) < limit:
            one = self._link.do(
                lambda: kept.find_one_and_update(
                    due, claim, sort=[("next", 1), ("_id", 1)], return_document=ReturnDocument.AFTER
                )
            )
            if one is None:
                break
            found.append(self._read(one))
        return found

    def advance(self, before: Schedule, after: Schedule | None) -> bool:
        """Replace a schedule by its next state, or remove it, if `before` is still what is kept."""
        return self._advance(before, after, [])

    def fire(
        self, broker: Broker, messages_: Sequence[Outgoing], before: Schedule, after: Schedule | None
    ) -> bool:
        """Enqueue and advance in one step, if the queue is in the same database."""
        if broker.capabilities.backend != self.backend or not messages_:
            return super().fire(broker, messages_, before, after)
        messages.check(messages_)
        queue = self._link.collection(Kind.MESSAGES)
        self._link.do(lambda: messages.hide(queue, messages_), again=True)
        fired = self._advance(before, after, [one.id for one in messages_])
        pending.show(self._link, {"_id": before.name})
        return fired

    def close(self) -> None:
        """Let go of the client."""
        self._link.close()

    def _advance(self, before: Schedule, after: Schedule | None, ids: list[bytes]) -> bool:
        kept = self._link.collection(Kind.SCHEDULES)
        found = self._found(before.name)
        # compared as it is read: an older release wrote the same schedule in other bytes
        if found is None or self._read(found) != before:
            return False
        same = {"_id": before.name, "schedule": found["schedule"]}
        change = _removing(before.name, ids) if after is None else _replacing(after, ids)
        done = self._link.do(lambda: kept.update_one(same, change), doubt=messages.DOUBT).matched_count > 0
        if done and after is None and not ids:
            pending.show(self._link, {"_id": before.name})
        return done

    def _found(self, name: str) -> Document | None:
        kept = self._link.collection(Kind.SCHEDULES)
        there = {"_id": name, **_KEPT}
        return self._link.do(lambda: kept.find_one(there), again=True)

    def _read(self, one: Document) -> Schedule:
        return self._decode(one["schedule"])


def _replacing(schedule: Schedule, ids: list[bytes]) -> list[Document]:
    """Return the change into this schedule; what earlier slots left pending stays."""
    fires = schedule.repeats != 0 and not schedule.fault
    made: Document = {
        # a text may look like the name of a field
        "_id": {"$literal": schedule.name},
        "fires": fires,
        "next": schedule.next_run,
        "schedule": _encode(schedule),
        # a field that is not there is left out
        "pending": _pending(ids) if ids else "$pending",
    }
    return [{"$replaceWith": made}]


def _removing(name: str, ids: list[bytes]) -> list[Document]:
    """Return the change into what is forgotten once nothing is pending."""
    return [{"$replaceWith": {"_id": {"$literal": name}, "fires": False, "pending": _pending(ids)}}]


def _pending(ids: list[bytes]) -> Document:
    return {"$concatArrays": [{"$ifNull": ["$pending", []]}, ids]}
