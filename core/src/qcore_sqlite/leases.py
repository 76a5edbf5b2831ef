"""Decides which messages a receipt covers and how a lease ends."""

from __future__ import annotations

import os
import struct
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from qcore.model import Action

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from qcore.model import Settlement

#: found once, because Python 3.11 makes two calls to find a member
_ACK: Final = Action.ACK

#: the lease's token and the row: a `seq` of `queue`, or a negated `key` of `returned`
RECEIPT = struct.Struct(">qq")

#: the last leased row of `queue`; all rows behind it are ready, see the schema
LAST_LEASED = "coalesce((select last from lease order by first desc limit 1), 0)"

# `first` is a row number; the other columns of a row that is not ours may have values of any type
_COVERING = """select first, last, token from lease where first <= ? and typeof(last) = 'integer'
    and typeof(token) = 'integer' order by first desc limit 1"""
_LAST_REMAINING = "select max(seq) from queue where seq between ? and ?"

_QUEUE_TO_RETURNED = """insert into returned (at, deliveries, failures, crashes, body)
    select ?, ?, ?, ?, body from queue where seq = ?"""
_QUEUE_TO_DEAD_LETTER = """insert into dead_letter (at, reason, failures, crashes, body)
    select ?, ?, ?, ?, body from queue where seq = ?"""
_RETURNED_TO_DEAD_LETTER = """insert into dead_letter (at, reason, failures, crashes, body, queue, priority)
    select ?, ?, ?, ?, body, queue, priority from returned where key = ? and token = ?"""
_RETRY = "update returned set at = ?, token = null, failures = ?, crashes = ? where key = ? and token = ?"
_RELEASE = "update returned set at = ?, token = null, deliveries = deliveries - 1 where key = ? and token = ?"
_DELETE = "delete from returned where key = ? and token = ?"

# What comes back as it was has the time 0.0: it is in front of what has waited since, by `key` in its order.
_RELEASE_OWNER = """update returned set at = 0.0, token = null, deliveries = deliveries - 1
    where token between ? and ?"""
_RANGE_TO_RETURNED = """insert into returned (at, body)
    select 0.0, body from queue where seq between ? and ? order by seq"""
# A token below 0 is not a lease's: it says when the last one ended, in microseconds.
_EXPIRED_TO_RETURNED = """insert into returned (at, token, deliveries, body)
    select 0.0, -cast(? * 1e6 as integer), 1, body from queue where seq between ? and ? order by seq"""
_EXPIRE_RETURNED = """update returned set at = 0.0, token = -cast(at * 1e6 as integer)
    where token >= 0 and at <= ?"""


class Lease(NamedTuple):
    """A row of `lease`: the messages of `queue` from `first` to `last` that still exist."""

    first: int
    last: int
    token: int


def new_token(owner: int) -> int:
    """Return a number that is unique to a lease: the owner's 31 bits and 32 random ones."""
    return owner << 32 | int.from_bytes(os.urandom(4), "big")


def owner_number(owner: bytes) -> int:
    """Return the first 31 bits of every token of `owner`; random bits if `owner` is empty."""
    return int.from_bytes((owner or os.urandom(4))[:4], "big") >> 1


def read_receipts(receipts: Iterable[bytes]) -> list[tuple[int, int]]:
    """Return (token, row) of each receipt; bytes of another length become a pair that matches no lease."""
    return [RECEIPT.unpack(receipt) if len(receipt) == RECEIPT.size else (-1, 0) for receipt in receipts]


def settle(connection: sqlite3.Connection, settlements: Sequence[Settlement], now: float) -> bool:
    """End leases; return whether any message can be leased again."""
    returned = False
    # in the order given, because of two settlements of one receipt the first takes effect
    for all_acks, group in groupby(settlements, _is_ack):
        if all_acks:
            _acknowledge(connection, read_receipts([settlement.receipt for settlement in group]))
        else:
            returned = _settle_one_by_one(connection, list(group), now) or returned
    return returned


def extend(connection: sqlite3.Connection, receipts: Sequence[bytes], until: float) -> None:
    """Let leases end at `until`, in epoch seconds; a lease that is extended in part is split."""
    read = read_receipts(receipts)
    wanted = set(read)
    touched = {lease for token, row in read if row > 0 and (lease := _covering(connection, token, row))}
    for lease in touched:
        old = connection.execute("select until from lease where first = ?", (lease.first,)).fetchone()[0]
        rows = connection.execute("select seq from queue where seq between ? and ?", lease[:2]).fetchall()
        connection.execute("delete from lease where first = ?", (lease.first,))
        for extended, group in groupby((seq for (seq,) in rows), lambda seq: (lease.token, seq) in wanted):  # noqa: B023 - consumed inside the loop
            part = list(group)
            connection.execute(
                "insert into lease (first, last, token, until) values (?, ?, ?, ?)",
                (part[0], part[-1], lease.token, until if extended else old),
            )
    connection.executemany(
        "update returned set at = ? where key = ? and token = ?",
        [(until, -row, token) for token, row in read if row < 0],
    )


def expire(connection: sqlite3.Connection, now: float) -> None:
    """Make the messages of expired leases ready again; the lease counts as a delivery."""
    expired = connection.execute("select first, last, until from lease where until <= ?", (now,)).fetchall()
    for first, last, until in expired:
        connection.execute(_EXPIRED_TO_RETURNED, (until, first, last))
        connection.execute("delete from queue where seq between ? and ?", (first, last))
        connection.execute("delete from lease where first = ?", (first,))
    connection.execute(_EXPIRE_RETURNED, (now,))


def release_owner(connection: sqlite3.Connection, owner: int) -> int:
    """Release every lease of an owner without counting it as a delivery; return how many messages."""
    span = (owner << 32, (owner << 32) + 0xFFFFFFFF)
    count = 0
    found = connection.execute("select first, last from lease where token between ? and ?", span).fetchall()
    for first, last in found:
        count += connection.execute(_RANGE_TO_RETURNED, (first, last)).rowcount
        connection.execute("delete from queue where seq between ? and ?", (first, last))
        connection.execute("delete from lease where first = ?", (first,))
    return count + connection.execute(_RELEASE_OWNER, span).rowcount


def _is_ack(settlement: Settlement) -> bool:
    return settlement.action is _ACK


def _acknowledge(connection: sqlite3.Connection, receipts: list[tuple[int, int]]) -> None:
    start = end = owner = 0
    for token, row in sorted(receipts):
        if row <= 0:
            connection.execute(_DELETE, (-row, token))
        elif token == owner and row <= end + 1:
            end = row
        else:
            _delete_range(connection, owner, start, end)
            start, end, owner = row, row, token
    _delete_range(connection, owner, start, end)


def _delete_range(connection: sqlite3.Connection, token: int, start: int, end: int) -> None:
    """Delete those rows from `start` to `end` that are leased under `token`."""
    while start <= end and end > 0:
        found = connection.execute(_COVERING, (end,)).fetchone()
        if found is None:
            return
        lease = Lease(*found)
        if lease.token == token and lease.last >= start:
            low, high = max(start, lease.first), min(end, lease.last)
            connection.execute("delete from queue where seq between ? and ?", (low, high))
            if (low, high) == lease[:2]:
                connection.execute("delete from lease where first = ?", (lease.first,))
            elif high == lease.last:
                _shrink(connection, lease)
        end = lease.first - 1


def _settle_one_by_one(connection: sqlite3.Connection, settlements: list[Settlement], now: float) -> bool:
    returned = False
    receipts = read_receipts([settlement.receipt for settlement in settlements])
    for settlement, (token, row) in zip(settlements, receipts, strict=True):
        if row < 0:
            _settle_returned(connection, settlement, token, -row, now)
        elif lease := _covering(connection, token, row):
            _settle_leased_once(connection, settlement, row, now)
            if row == lease.last:
                _shrink(connection, lease)
        returned = returned or settlement.action is not Action.DEAD_LETTER
    return returned


def _settle_leased_once(connection: sqlite3.Connection, settlement: Settlement, seq: int, now: float) -> None:
    """Settle a message that was leased for the first time: move it out of `queue`."""
    failures, crashes = settlement.failures, settlement.crashes
    if settlement.action is Action.RETRY:
        connection.execute(_QUEUE_TO_RETURNED, (now + settlement.delay, 1, failures, crashes, seq))
    elif settlement.action is Action.RELEASE:
        connection.execute(_QUEUE_TO_RETURNED, (_released_at(settlement, now), 0, 0, 0, seq))
    else:
        connection.execute(_QUEUE_TO_DEAD_LETTER, (now, _text(settlement.reason), failures, crashes, seq))
    connection.execute("delete from queue where seq = ?", (seq,))


def _settle_returned(
    connection: sqlite3.Connection, settlement: Settlement, token: int, key: int, now: float
) -> None:
    """Settle a message of `returned`, which was leased or delayed before."""
    failures, crashes = settlement.failures, settlement.crashes
    if settlement.action is Action.RETRY:
        connection.execute(_RETRY, (now + settlement.delay, failures, crashes, key, token))
    elif settlement.action is Action.RELEASE:
        connection.execute(_RELEASE, (_released_at(settlement, now), key, token))
    else:
        connection.execute(
            _RETURNED_TO_DEAD_LETTER, (now, _text(settlement.reason), failures, crashes, key, token)
        )
        connection.execute(_DELETE, (key, token))


def _released_at(settlement: Settlement, now: float) -> float:
    return now + settlement.delay if settlement.delay > 0 else 0.0


def _text(reason: str) -> str:
    """Return a reason without lone surrogates, because SQLite takes UTF-8 only."""
    return reason.encode(errors="backslashreplace").decode()


def _covering(connection: sqlite3.Connection, token: int, seq: int) -> Lease | None:
    found = connection.execute(_COVERING, (seq,)).fetchone()
    if found is None:
        return None
    lease = Lease(*found)
    return lease if lease.token == token and seq <= lease.last else None


def _shrink(connection: sqlite3.Connection, lease: Lease) -> None:
    """Let the lease's range end at a row that exists; delete the lease if there is none."""
    left = connection.execute(_LAST_REMAINING, (lease.first, lease.last)).fetchone()[0]
    if left is None:
        connection.execute("delete from lease where first = ?", (lease.first,))
    else:
        connection.execute("update lease set last = ? where first = ?", (left, lease.first))
