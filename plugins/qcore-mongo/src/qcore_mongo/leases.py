"""Decides how leases begin, last and end in MongoDB."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Final

from pymongo import DeleteMany, UpdateMany, UpdateOne

from qcore.model import Action, Delivery
from qcore_mongo.conditions import COUNT_UP, by_route, later, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qcore.model import Settlement
    from qcore_mongo.client import Document

#: bytes of an id
ID_SIZE: Final = 16
#: bytes of a lease's token
TOKEN: Final = 12
#: most characters of a reason
_REASON: Final = 4096
#: behind the token of a lease of a message that has a route, so that its receipt says so
_ROUTED: Final = b"r"
_SIZES: Final = (ID_SIZE + TOKEN, ID_SIZE + TOKEN + len(_ROUTED))

# -- leasing ------------------------------------------------------------------------------------


def is_routed(copy: Document) -> bool:
    """Return whether a message that is ready has a route."""
    return "due" in copy


def by_token(copies: list[Document]) -> dict[bytes, list[Document]]:
    """Return new tokens -> the messages that are to be leased with them, in their order."""
    token = os.urandom(TOKEN)
    routed = [one for one in copies if "due" in one]
    if not routed:
        return {token: copies}
    parts = {token: [one for one in copies if "due" not in one], token + _ROUTED: routed}
    return {token: part for token, part in parts.items() if part}


def _field(token: bytes) -> str:
    """Return the field that says when a lease ends."""
    return "at" if len(token) == TOKEN else "due"


def claims(documents: Sequence[Document], token: bytes, owner: bytes, seconds: float) -> list[UpdateMany]:
    """Return the steps that lease messages that have not changed since they were read.

    Every change increases the version of a message, and every insertion has its own `seq`. So of
    several workers that read the same message only one can claim it.
    """
    versions: dict[int | None, list[Document]] = defaultdict(list)
    for copy in documents:
        versions[copy.get("version")].append(copy)
    change = {
        _field(token): later(seconds),
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


def deliveries(copies: Sequence[Document], tokens: Sequence[bytes]) -> list[Delivery]:
    """Return the deliveries of messages that were leased with these tokens, in their order."""
    plain, routed = tokens[0], tokens[-1]
    if plain == routed:
        return [_delivery(one, plain) for one in copies]
    return [_delivery(one, routed if is_routed(one) else plain) for one in copies]


def _delivery(copy: Document, token: bytes) -> Delivery:
    """Return the delivery of a message, with its counters including this lease."""
    since = copy[_field(token)] if "lease" in copy else None
    return Delivery(
        copy["body"],
        copy["_id"] + token,
        copy.get("leases", 0) + 1,
        copy.get("failures", 0),
        copy.get("crashes", 0),
        since.timestamp() if isinstance(since, datetime) else 0.0,
    )


# -- ending leases ------------------------------------------------------------------------------


def by_lease(receipts: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Return token -> ids of the messages that were leased with it."""
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for receipt in receipts:
        if len(receipt) in _SIZES:
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
        if one.action is not Action.ACK and len(receipt) in _SIZES:
            id_, token = receipt[:ID_SIZE], receipt[ID_SIZE:]
            steps.append(UpdateOne({"_id": id_, "lease": token}, _ending(one, _field(token))))
    return steps


def _ending(one: Settlement, field: str) -> list[Document]:
    if one.action is Action.RELEASE:
        return _releasing({field: later(one.delay)})
    change: Document = {"failures": one.failures, "crashes": one.crashes, "version": COUNT_UP}
    if one.action is Action.RETRY:
        return [{"$set": {**change, field: later(one.delay)}}, {"$unset": ["lease", "owner"]}]
    # the text of an error may contain lone surrogates
    reason = one.reason.encode(errors="backslashreplace").decode()[:_REASON]
    change |= {"dead": "$$NOW", "reason": {"$literal": reason.replace("\0", "\\0")}}
    return [{"$set": change}, {"$unset": [field, "lease", "owner"]}]


def releasing(token: bytes) -> list[Document]:
    """Return the change that releases messages of one token without counting the lease."""
    return _releasing({_field(token): later(0)})


def releasing_any() -> list[Document]:
    """Return the same for messages of any token."""
    return _releasing(by_route(later(0)))


def _releasing(since: Document) -> list[Document]:
    leases = {"$subtract": [number("$leases"), 1]}
    return [{"$set": {**since, "leases": leases, "version": COUNT_UP}}, {"$unset": ["lease", "owner"]}]


def extending(receipts: Sequence[bytes], seconds: float) -> list[UpdateMany]:
    """Return the steps that extend leases that have not expired."""
    steps = []
    for token, ids in by_lease(receipts).items():
        field = _field(token)
        change = [{"$set": {field: later(seconds), "version": COUNT_UP}}]
        steps.append(UpdateMany({**held(ids, token), "$expr": {"$gt": [f"${field}", "$$NOW"]}}, change))
    return steps
