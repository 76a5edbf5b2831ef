"""Decides the form of messages in MongoDB and their changes."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from bson import ObjectId, Timestamp
from pymongo import DeleteMany, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from qcore.errors import PayloadTooLarge
from qcore.model import Action, Delivery
from qcore_mongo import error_mapping
from qcore_mongo.error_mapping import DUPLICATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymongo.collection import Collection

    from qcore.model import Outgoing, Settlement
    from qcore_mongo.client import Document

# A message is one document:
#   _id      the message's id, 16 bytes
#   body
#   seq      unique to this insertion
#   at       when it may be leased: the time of its insertion (a Timestamp, which the server sets and
#            which is always past), or the end of a delay or of a lease (a Date); a dead letter
#            has none. Dates sort before Timestamps.
#   version  how often it was changed, so that a reader knows whether it has changed since
#   lease, owner      while it is leased
#   leases, failures, crashes
#   dead, reason      while it is a dead letter
#   hidden, wait      while its slot is not fired yet, see `hide`

#: most bytes of a body, so that MongoDB accepts the document
MAX_BYTES: Final = 16 * 1024 * 1024 - 65_536
#: most characters of a reason
_REASON: Final = 4096
#: seconds for which a hidden message is kept: the process that fires its slot may die, and no other may
#: run for a long time
_HIDDEN: Final = 30 * 86_400.0
#: said if the answer to an enqueue was lost
OUTCOME_UNKNOWN: Final = "the messages may have been accepted"

#: messages that are inserted in one command: an error says of each whether it was
_INSERTED: Final = 10_000

#: bytes of a lease's token
TOKEN: Final = 12
#: bytes of an id
ID_SIZE: Final = 16
#: the server replaces it by its time when it inserts the document
_SERVER_TIME: Final = Timestamp(0, 0)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

#: messages that are ready
READY_FILTER: Final[Document] = {
    "$or": [{"at": {"$gt": _SERVER_TIME}}, {"at": {"$gte": EPOCH}, "$expr": {"$lte": ["$at", "$$NOW"]}}]
}
#: messages that are delayed or leased
WAITING_FILTER: Final[Document] = {"at": {"$gte": EPOCH}, "$expr": {"$gt": ["$at", "$$NOW"]}}


def number(field: str) -> Document:
    """Return an expression for a number, 0 for what is missing or, in a document of others, not a number."""
    return {"$convert": {"input": field, "to": "long", "onError": 0, "onNull": 0}}


COUNT_UP: Final[Document] = {"$add": [number("$version"), 1]}


def later(seconds: float) -> Document:
    """Return an expression for a time `seconds` from now, by the server's clock."""
    return {"$add": ["$$NOW", max(0, round(seconds * 1000))]}


# -- enqueuing ----------------------------------------------------------------------------------


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
            collection.bulk_write([_insertion(one, {"at": later(one.delay)}) for one in some], ordered=False)
        except BulkWriteError as exc:
            accepted += _inserted(some, exc)
            raise
        accepted += [one.id for one in some]


def _put_now(collection: Collection[Document], messages: Sequence[Outgoing], accepted: list[bytes]) -> None:
    documents = [{"_id": one.id, "at": _SERVER_TIME, "seq": ObjectId(), "body": one.body} for one in messages]
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


def _inserted(messages: Sequence[Outgoing], error: BulkWriteError) -> list[bytes]:
    """Return the ids of messages that were inserted although others were not, if the server is sure."""
    details = error.details or {}
    if details.get("writeConcernErrors"):
        return []
    refused = {one["index"] for one in details.get("writeErrors", ()) if one.get("code") != DUPLICATE}
    return [one.id for number, one in enumerate(messages) if number not in refused]


def hide(collection: Collection[Document], messages: Sequence[Outgoing]) -> None:
    """Insert hidden messages, which are not leased until `show`, and expire without it."""
    steps = [
        _insertion(one, {"hidden": later(_HIDDEN), "wait": max(0, round(one.delay * 1000))})
        for one in messages
    ]
    collection.bulk_write(steps, ordered=False)


def show(collection: Collection[Document], ids: Sequence[bytes]) -> list[bytes]:
    """Make hidden messages leasable; return the ids that do not exist."""
    change: list[Document] = [
        {"$set": {"at": {"$add": ["$$NOW", number("$wait")]}, "version": COUNT_UP}},
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


# -- leasing ------------------------------------------------------------------------------------


def claims(documents: Sequence[Document], token: bytes, owner: bytes, seconds: float) -> list[UpdateMany]:
    """Return the steps that lease messages that have not changed since they were read.

    Every change increases the version of a message, and every insertion has its own `seq`. So of
    several workers that read the same message only one can claim it.
    """
    versions: dict[int | None, list[Document]] = defaultdict(list)
    for copy in documents:
        versions[copy.get("version")].append(copy)
    change = {
        "at": later(seconds),
        "lease": token,
        "owner": owner,
        "leases": {"$add": [number("$leases"), 1]},
        "version": COUNT_UP,
    }
    return [
        UpdateMany(
            {
                "_id": {"$in": [one["_id"] for one in alike]},
                "seq": {"$in": [one["seq"] for one in alike]},
                "version": version,
            },
            [{"$set": change}],
            hint="_id_",
        )
        for version, alike in versions.items()
    ]


def delivery(copy: Document, token: bytes) -> Delivery:
    """Return the delivery of a message, with its counters including this lease."""
    return Delivery(
        copy["body"],
        copy["_id"] + token,
        copy.get("leases", 0) + 1,
        copy.get("failures", 0),
        copy.get("crashes", 0),
        copy["at"].timestamp() if "lease" in copy and isinstance(copy["at"], datetime) else 0.0,
    )


# -- ending leases ------------------------------------------------------------------------------


def by_lease(receipts: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Return token -> ids of the messages that were leased with it."""
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for receipt in receipts:
        if len(receipt) == ID_SIZE + TOKEN:
            found[receipt[ID_SIZE:]].append(receipt[:ID_SIZE])
    return found


def held(ids: Sequence[bytes], token: bytes) -> Document:
    """Return a filter for the messages that still have this lease."""
    return {"_id": {"$in": list(ids)}, "lease": token}


def settling(settlements: Sequence[Settlement]) -> list[DeleteMany | UpdateOne]:
    """Return the steps that end leases."""
    # of several settlements of one message the first takes effect
    first: dict[bytes, Settlement] = {}
    for one in settlements:
        first.setdefault(one.receipt, one)
    acks = by_lease(one.receipt for one in first.values() if one.action is Action.ACK)
    steps: list[DeleteMany | UpdateOne] = [DeleteMany(held(ids, token)) for token, ids in acks.items()]
    for receipt, one in first.items():
        if one.action is not Action.ACK and len(receipt) == ID_SIZE + TOKEN:
            steps.append(UpdateOne({"_id": receipt[:ID_SIZE], "lease": receipt[ID_SIZE:]}, _ending(one)))
    return steps


def _ending(one: Settlement) -> list[Document]:
    if one.action is Action.RELEASE:
        return releasing(one.delay)
    change: Document = {"failures": one.failures, "crashes": one.crashes, "version": COUNT_UP}
    if one.action is Action.RETRY:
        return [{"$set": {**change, "at": later(one.delay)}}, {"$unset": ["lease", "owner"]}]
    # the text of an error may contain lone surrogates
    reason = one.reason.encode(errors="backslashreplace").decode()[:_REASON]
    change |= {"dead": "$$NOW", "reason": {"$literal": reason.replace("\0", "\\0")}}
    return [{"$set": change}, {"$unset": ["at", "lease", "owner"]}]


def releasing(delay: float = 0.0) -> list[Document]:
    """Return the change that releases a message without counting the lease."""
    leases = {"$subtract": [number("$leases"), 1]}
    return [
        {"$set": {"at": later(delay), "leases": leases, "version": COUNT_UP}},
        {"$unset": ["lease", "owner"]},
    ]


def extending(receipts: Sequence[bytes], seconds: float) -> list[UpdateMany]:
    """Return the steps that extend leases that have not expired."""
    change = [{"$set": {"at": later(seconds), "version": COUNT_UP}}]
    return [
        UpdateMany({**held(ids, token), "$expr": {"$gt": ["$at", "$$NOW"]}}, change)
        for token, ids in by_lease(receipts).items()
    ]


def counting(name: str, wanted: Document, most: int | None = None) -> list[Document]:
    """Return a pipeline that counts the documents of a filter, up to `most`."""
    limit: list[Document] = [{"$limit": most}] if most else []
    return [{"$match": wanted}, *limit, {"$count": "count"}, {"$set": {"name": name}}]
