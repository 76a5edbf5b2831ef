"""What a message looks like in MongoDB, and what changes it."""

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

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymongo.collection import Collection

    from qcore.model import Outgoing, Settlement
    from qcore_mongo.client import Document

# A message is one document:
#   _id      the message's id, 16 bytes
#   body
#   seq      unique to this insertion
#   at       when it may be leased: the time the server took it in (a Timestamp, which it gives and
#            which needs no clock to be past), or the end of a delay or of a lease (a Date); a
#            buried one has none. Dates sort before Timestamps.
#   version  how often it was changed: whoever read it knows whether it is still what was read
#   lease, owner      while it is leased
#   leases, failures, crashes
#   buried, reason    while it is a dead letter
#   hidden, wait      while nobody knows yet whether it is a message, see `hide`

#: largest body: what MongoDB takes in a document, with room for the rest of it
MAX_BYTES: Final = 16 * 1024 * 1024 - 65_536
#: characters of a reason that are kept
_REASON: Final = 4096
#: seconds that something hidden is kept: a slot may be fired by a process that dies amid it, before
#: a time in which none runs
_HIDDEN: Final = 30 * 86_400.0
#: said where the answer to an enqueue was lost
DOUBT: Final = "the messages may have been accepted all the same"

#: bytes of the name of a lease
TOKEN: Final = 12
#: bytes of an id
_ID: Final = 16
#: replaced by the server when the document is inserted
_SERVER_TIME: Final = Timestamp(0, 0)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

#: it waits for no time, or that time is past
FREE: Final[Document] = {
    "$or": [{"at": {"$gt": _SERVER_TIME}}, {"at": {"$gte": EPOCH}, "$expr": {"$lte": ["$at", "$$NOW"]}}]
}
#: it waits for the end of a delay or of a lease
WAITS: Final[Document] = {"at": {"$gte": EPOCH}, "$expr": {"$gt": ["$at", "$$NOW"]}}
_COUNT_UP: Final = {"$add": [{"$ifNull": ["$version", 0]}, 1]}


def later(seconds: float) -> Document:
    """Return an expression for so many seconds from now, by the server's clock."""
    return {"$add": ["$$NOW", max(0, round(seconds * 1000))]}


# -- putting in ---------------------------------------------------------------------------------


def check(messages: Iterable[Outgoing]) -> None:
    """Refuse what no document can hold."""
    for message in messages:
        if len(message.body) > MAX_BYTES:
            raise PayloadTooLarge(
                f"the message has {len(message.body)} bytes; MongoDB takes {MAX_BYTES}: pass a reference"
                " to what is large, not the thing itself"
            )


def put(collection: Collection[Document], messages: Sequence[Outgoing]) -> None:
    """Insert messages; one whose id is queued is left as it is."""
    prompt = [
        {"_id": one.id, "at": _SERVER_TIME, "seq": ObjectId(), "body": one.body}
        for one in messages
        if one.delay <= 0
    ]
    try:
        if len(prompt) == 1:
            collection.insert_one(prompt[0])
        elif prompt:
            collection.insert_many(prompt, ordered=False)
    except (DuplicateKeyError, BulkWriteError) as exc:
        if not error_mapping.is_duplicate(exc):
            raise
        show(collection, [one.id for one in messages if one.delay <= 0])
    delayed = [_holding(one, {"at": later(one.delay)}) for one in messages if one.delay > 0]
    if delayed:
        collection.bulk_write(delayed, ordered=False)


def hide(collection: Collection[Document], messages: Sequence[Outgoing]) -> None:
    """Insert what is no message until it is shown, and is forgotten if it never is."""
    steps = [
        _holding(one, {"hidden": later(_HIDDEN), "wait": max(0, round(one.delay * 1000))}) for one in messages
    ]
    collection.bulk_write(steps, ordered=False)


def show(collection: Collection[Document], ids: Sequence[bytes]) -> list[bytes]:
    """Make messages of what is hidden, and leave what is one; return ids of which there is nothing."""
    change: list[Document] = [
        {"$set": {"at": {"$add": ["$$NOW", "$wait"]}, "version": _COUNT_UP}},
        {"$unset": ["hidden", "wait"]},
    ]
    shown = collection.update_many({"_id": {"$in": list(ids)}, "hidden": {"$exists": True}}, change)
    if shown.matched_count == len(ids):
        return []
    there = {one["_id"] for one in collection.find({"_id": {"$in": list(ids)}}, {"_id": 1})}
    return [id for id in ids if id not in there]


def _holding(message: Outgoing, fields: Document) -> UpdateOne:
    """Return the insertion of a message with fields that the server's clock sets."""
    made = {"_id": message.id, "seq": ObjectId(), "body": message.body, **fields}
    is_new = {"$or": [{"$eq": [{"$type": "$seq"}, "missing"]}, {"$ne": [{"$type": "$hidden"}, "missing"]}]}
    return UpdateOne(
        {"_id": message.id}, [{"$replaceWith": {"$cond": [is_new, made, "$$ROOT"]}}], upsert=True
    )


# -- taking out ---------------------------------------------------------------------------------


def claims(copies: Sequence[Document], token: bytes, owner: bytes, seconds: float) -> list[UpdateMany]:
    """Return the steps that lease messages, each if it is still what was read.

    Whatever changes a message counts its version up, and an insertion has a `seq` of its own. So
    of several who have read the same message one finds it as it was, and the others do not.
    """
    versions: dict[int | None, list[Document]] = defaultdict(list)
    for copy in copies:
        versions[copy.get("version")].append(copy)
    change = {
        "at": later(seconds),
        "lease": token,
        "owner": owner,
        "leases": {"$add": [{"$ifNull": ["$leases", 0]}, 1]},
        "version": _COUNT_UP,
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
    """Return what a message was when it was leased."""
    return Delivery(
        copy["body"],
        copy["_id"] + token,
        copy.get("leases", 0) + 1,
        copy.get("failures", 0),
        copy.get("crashes", 0),
        copy["at"].timestamp() if "lease" in copy else 0.0,
    )


# -- ending leases ------------------------------------------------------------------------------


def by_lease(receipts: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Return the ids of what was leased together, by the name of the lease."""
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for receipt in receipts:
        if len(receipt) == _ID + TOKEN:
            found[receipt[_ID:]].append(receipt[:_ID])
    return found


def held(ids: Sequence[bytes], token: bytes) -> Document:
    """Return a filter for those of these messages that still have this lease."""
    return {"_id": {"$in": list(ids)}, "lease": token}


def settling(settlements: Sequence[Settlement]) -> list[DeleteMany | UpdateOne]:
    """Return the steps that end leases."""
    # of several settlements of one message the first counts
    first: dict[bytes, Settlement] = {}
    for one in settlements:
        first.setdefault(one.receipt, one)
    acks = by_lease(one.receipt for one in first.values() if one.action is Action.ACK)
    steps: list[DeleteMany | UpdateOne] = [DeleteMany(held(ids, token)) for token, ids in acks.items()]
    for receipt, one in first.items():
        if one.action is not Action.ACK and len(receipt) == _ID + TOKEN:
            steps.append(UpdateOne({"_id": receipt[:_ID], "lease": receipt[_ID:]}, _ending(one)))
    return steps


def _ending(one: Settlement) -> list[Document]:
    if one.action is Action.RELEASE:
        return giving_back(one.delay)
    change: Document = {"failures": one.failures, "crashes": one.crashes, "version": _COUNT_UP}
    if one.action is Action.RETRY:
        return [{"$set": {**change, "at": later(one.delay)}}, {"$unset": ["lease", "owner"]}]
    # the text of an error may be no proper text
    reason = one.reason.encode(errors="backslashreplace").decode()[:_REASON]
    change |= {"buried": "$$NOW", "reason": {"$literal": reason.replace("\0", "\\0")}}
    return [{"$set": change}, {"$unset": ["at", "lease", "owner"]}]


def giving_back(delay: float = 0.0) -> list[Document]:
    """Return the change that makes it as if the message had not been leased."""
    leases = {"$subtract": ["$leases", 1]}
    return [
        {"$set": {"at": later(delay), "leases": leases, "version": _COUNT_UP}},
        {"$unset": ["lease", "owner"]},
    ]


def extending(receipts: Sequence[bytes], seconds: float) -> list[UpdateMany]:
    """Return the steps that prolong leases which have not ended."""
    change = [{"$set": {"at": later(seconds), "version": _COUNT_UP}}]
    return [
        UpdateMany({**held(ids, token), "$expr": {"$gt": ["$at", "$$NOW"]}}, change)
        for token, ids in by_lease(receipts).items()
    ]


def counting(name: str, wanted: Document, most: int | None = None) -> list[Document]:
    """Return a pipeline that counts what a filter finds, up to `most`."""
    limit: list[Document] = [{"$limit": most}] if most else []
    return [{"$match": wanted}, *limit, {"$count": "count"}, {"$set": {"name": name}}]
