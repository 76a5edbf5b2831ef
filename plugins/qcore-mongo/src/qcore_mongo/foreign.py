"""Decides what becomes of documents that qcore has not written."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import bson
from bson import ObjectId
from bson.errors import BSONError

from qcore_mongo.indexes import Kind
from qcore_mongo.leases import ID_SIZE, is_routed

if TYPE_CHECKING:
    from qcore_mongo.client import Client, Document

_log = logging.getLogger("qcore_mongo")

_COUNTERS: Final = ("version", "leases", "failures", "crashes")
#: versions and counters from here on are not ours
_LARGE: Final = 1 << 31


def is_message(one: Document) -> bool:
    """Return whether a document can be leased and settled as a message."""
    id_ = one["_id"]
    if not (isinstance(id_, bytes) and len(id_) == ID_SIZE and isinstance(one.get("body"), bytes)):
        return False
    if not isinstance(one.get("seq"), ObjectId):
        return False
    if len(one) <= _PLAIN:
        return True
    if is_routed(one) and "at" in one:
        return False
    counters = [one[name] for name in _COUNTERS if name in one]
    return all(isinstance(count, int) and 0 <= count < _LARGE for count in counters)


#: a message that was never leased has no counters: `_id`, `at`, `seq` and `body` are all
_PLAIN: Final = 4


def bytes_of(value: object) -> bytes:
    """Return a value as bytes: its own, or those of its BSON."""
    if isinstance(value, bytes):
        return value
    try:
        return bson.encode({"value": value})
    except (BSONError, OverflowError, TypeError, ValueError):
        return repr(value).encode(errors="backslashreplace")


def seconds_of(value: object) -> float:
    """Return the epoch seconds of a date, 0.0 for anything else."""
    return max(0.0, value.timestamp()) if isinstance(value, datetime) else 0.0


def set_aside(client: Client, documents: list[Document]) -> None:
    """Replace documents that cannot be leased by dead letters that hold them."""
    collection = client.collection(Kind.MESSAGES)
    for one in documents:
        letter: dict[str, Any] = {
            "_id": os.urandom(ID_SIZE),
            "seq": ObjectId(),
            "body": bytes_of(one.get("body")) if "body" in one else bytes_of(one),
            "dead": datetime.now(UTC),
            "reason": f"the document {one['_id']!r} is not a message of qcore"[:500],
        }
        client.do(lambda: collection.insert_one(letter))  # noqa: B023 - used at once
        client.do(lambda: collection.delete_one({"_id": one["_id"]}))  # noqa: B023 - used at once
        _log.error("a document that is not a message of qcore is dead-lettered: %s", letter["reason"])
