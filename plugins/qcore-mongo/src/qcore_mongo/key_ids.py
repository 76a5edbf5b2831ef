"""Counts messages by the key that signed them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from qcore.model import KEY_ID_AT
from qcore_mongo.foreign import bytes_of
from qcore_mongo.indexes import Kind

if TYPE_CHECKING:
    from qcore_mongo.client import Client, Document

#: messages that are read in one call, whose time is limited
_PAGE: Final = 1000


def counted(client: Client) -> Counter[bytes]:
    """Read every message that is not a dead letter; the server has no operator for a part of a binary."""
    collection = client.collection(Kind.MESSAGES)
    counts: Counter[bytes] = Counter()
    last = b""
    while True:
        wanted: Document = {"_id": {"$gt": last}, "dead": {"$exists": False}}

        def page(wanted: Document = wanted) -> list[tuple[bytes, bytes]]:
            found = collection.find(wanted, {"body": 1}).sort("_id").limit(_PAGE)
            return [(one["_id"], bytes_of(one.get("body", b""))[KEY_ID_AT]) for one in found]

        some = client.do(page, repeatable=True)
        counts.update(key for _, key in some)
        if len(some) < _PAGE:
            return counts
        last = some[-1][0]
