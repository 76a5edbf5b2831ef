"""Decides the form of messages in MongoDB, and how they are accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bson import ObjectId
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from qcore.errors import PayloadTooLarge
from qcore_mongo import error_mapping
from qcore_mongo.conditions import COUNT_UP, SERVER_TIME, by_route, later, number
from qcore_mongo.error_mapping import DUPLICATE
from qcore_mongo.routes import is_routed, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymongo.collection import Collection

    from qcore.model import Outgoing
    from qcore_mongo.client import Document

# A message is one document:
#   _id      the message's id, 16 bytes
#   body
#   seq      unique to this insertion
#   at       when it may be leased: the time of its insertion (a Timestamp, which the server sets and
#            which is always past), or the end of a delay or of a lease (a Date); a dead letter
#            has none. Dates sort before Timestamps.
#   route    its queue and its priority, unless both are the default: `10:mail`; it has `due` then, which
#            is what `at` is to others, and no `at`
#   version  how often it was changed, so that a reader knows whether it has changed since
#   lease, owner      while it is leased
#   leases, failures, crashes
#   dead, reason      while it is a dead letter
#   hidden, wait      while its slot is not fired yet, see `hide`

#: most bytes of a body, so that MongoDB accepts the document
MAX_BYTES: Final = 16 * 1024 * 1024 - 65_536
#: seconds for which a hidden message is kept: the process that fires its slot may die, and no other may
#: run for a long time
_HIDDEN: Final = 30 * 86_400.0
#: said if the answer to an enqueue was lost
OUTCOME_UNKNOWN: Final = "the messages may have been accepted"

#: messages that are inserted in one command: an error says of each whether it was
_INSERTED: Final = 10_000


def check(messages: Iterable[Outgoing]) -> None:
    """Check that the bodies fit into documents.

    Raises:
        PayloadTooLarge: one does not.
    """
    for message in messages:
        if len(message.body) > MAX_BYTES:
            raise PayloadTooLarge(
                f"the message has {len(message.body)} bytes; MongoDB accepts {MAX_BYTES}: pass a reference"
                " instead of the data"
            )


def put(collection: Collection[Document], messages: Sequence[Outgoing], accepted: list[bytes]) -> None:
    """Insert messages; a message whose id is queued is not changed.

    Args:
        collection: of the messages.
        messages: any number.
        accepted: gets the ids of inserted messages, even if an error is raised.

    """
    immediate = [one for one in messages if one.delay <= 0]
    for start in range(0, len(immediate), _INSERTED):
        _put_now(collection, immediate[start : start + _INSERTED], accepted)
    delayed = [one for one in messages if one.delay > 0]
    for start in range(0, len(delayed), _INSERTED):
        some = delayed[start : start + _INSERTED]
        try:
            steps = [_insertion(one, _leasable(one, later(one.delay))) for one in some]
            collection.bulk_write(steps, ordered=False)
        except BulkWriteError as exc:
            accepted += _inserted(some, exc)
            raise
        accepted += [one.id for one in some]


def _put_now(collection: Collection[Document], messages: Sequence[Outgoing], accepted: list[bytes]) -> None:
    documents = [
        {"_id": one.id, **_leasable(one, SERVER_TIME), "seq": ObjectId(), "body": one.body}
        for one in messages
    ]
    try:
        if len(documents) == 1:
            collection.insert_one(documents[0])
        else:
            collection.insert_many(documents, ordered=False)
    except (DuplicateKeyError, BulkWriteError) as exc:
        if not error_mapping.is_duplicate(exc):
            if isinstance(exc, BulkWriteError):
                accepted += _inserted(messages, exc)
            raise
        show(collection, [one.id for one in messages])
    accepted += [one.id for one in messages]


def _leasable(message: Outgoing, since: object) -> Document:
    """Return the fields that say when a message may be leased, and of which queue and priority it is."""
    if is_routed(message):
        return {"route": name_of(message.queue, message.priority), "due": since}
    return {"at": since}


def _inserted(messages: Sequence[Outgoing], error: BulkWriteError) -> list[bytes]:
    """Return the ids of messages that were inserted although others were not, if the server is sure."""
    details = error.details or {}
    if details.get("writeConcernErrors"):
        return []
    refused = {one["index"] for one in details.get("writeErrors", ()) if one.get("code") != DUPLICATE}
    return [one.id for number, one in enumerate(messages) if number not in refused]


def hide(collection: Collection[Document], messages: Sequence[Outgoing]) -> None:
    """Insert hidden messages, which are not leased until `show`, and expire without it."""
    steps = []
    for one in messages:
        fields: Document = {"hidden": later(_HIDDEN), "wait": max(0, round(one.delay * 1000))}
        if is_routed(one):
            fields["route"] = name_of(one.queue, one.priority)
        steps.append(_insertion(one, fields))
    collection.bulk_write(steps, ordered=False)


def show(collection: Collection[Document], ids: Sequence[bytes]) -> list[bytes]:
    """Make hidden messages leasable; return the ids that do not exist."""
    change: list[Document] = [
        {"$set": {**by_route({"$add": ["$$NOW", number("$wait")]}), "version": COUNT_UP}},
        {"$unset": ["hidden", "wait"]},
    ]
    shown = collection.update_many({"_id": {"$in": list(ids)}, "hidden": {"$exists": True}}, change)
    if shown.matched_count == len(ids):
        return []
    there = {one["_id"] for one in collection.find({"_id": {"$in": list(ids)}}, {"_id": 1})}
    return [id for id in ids if id not in there]


def _insertion(message: Outgoing, fields: Document) -> UpdateOne:
    """Return the step that inserts a message with fields that use the server's clock."""
    made = {"_id": message.id, "seq": ObjectId(), "body": message.body, **fields}
    is_new = {"$or": [{"$eq": [{"$type": "$seq"}, "missing"]}, {"$ne": [{"$type": "$hidden"}, "missing"]}]}
    return UpdateOne(
        {"_id": message.id}, [{"$replaceWith": {"$cond": [is_new, made, "$$ROOT"]}}], upsert=True
    )
