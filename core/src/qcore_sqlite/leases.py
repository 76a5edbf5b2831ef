"""Decides what a receipt covers and how a lease ends."""

from __future__ import annotations

import os
import struct
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from qcore.model import Action

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from qcore.model import Settlement

#: the lease's token, and the row: a `seq` of `queue`, or a `key` of `back` with its sign turned
RECEIPT = struct.Struct(">qq")

#: the row behind which everything in `queue` is ready, see the schema
HEAD = "coalesce((select last from lease order by first desc limit 1), 0)"

_COVERING = "select first, last, token from lease where first <= ? order by first desc limit 1"
_LAST_LEFT = "select max(seq) from queue where seq between ? and ?"

_QUEUE_TO_BACK = """insert into back (at, deliveries, failures, crashes, body)
    select ?, ?, ?, ?, body from queue where seq = ?"""
_QUEUE_TO_BURIED = """insert into buried (at, reason, failures, crashes, body)
    select ?, ?, ?, ?, body from queue where seq = ?"""
_BACK_TO_BURIED = """insert into buried (at, reason, failures, crashes, body)
    select ?, ?, ?, ?, body from back where key = ? and token = ?"""
_BACK_RETRY = "update back set at = ?, token = null, failures = ?, crashes = ? where key = ? and token = ?"
_BACK_RELEASE = (
    "update back set at = ?, token = null, deliveries = deliveries - 1 where key = ? and token = ?"
)
_BACK_DELETE = "delete from back where key = ? and token = ?"

_BACK_RECLAIM = """update back set at = ?, token = null, deliveries = deliveries - 1
    where token between ? and ?"""
_RANGE_TO_BACK = """insert into back (at, body)
    select ?, body from queue where seq between ? and ? order by seq"""
_EXPIRED_TO_BACK = """insert into back (at, token, deliveries, body)
    select ?, ?, 1, body from queue where seq between ? and ? order by seq"""


class Lease(NamedTuple):
    """A row of `lease`: these messages of `queue`, as far as they are still there."""

    first: int
    last: int
    token: int


def new_token(owner: int) -> int:
    """Return a number that no other lease has had or will have: the owner's 31 bits and 32 random ones."""
    return owner << 32 | int.from_bytes(os.urandom(4), "big")


def owner_number(owner: bytes) -> int:
    """Return the 31 bits that begin every token of `owner`; random ones for nobody in particular."""
    return int.from_bytes((owner or os.urandom(4))[:4], "big") >> 1


def read_receipts(receipts: Iterable[bytes]) -> list[tuple[int, int]]:
    """Return (token, row) of each receipt; what cannot be one of ours becomes one that fits nothing."""
    return [RECEIPT.unpack(receipt) if len(receipt) == RECEIPT.size else (-1, 0) for receipt in receipts]


def settle(connection: sqlite3.Connection, settlements: Sequence[Settlement], now: float) -> bool:
    """End leases; return whether anything went back to be leased again."""
    back = False
    # in the order given: of two settlements of one receipt the first one holds
    for all_done, some in groupby(settlements, _is_ack):
        if all_done:
            _acknowledge(connection, read_receipts([settlement.receipt for settlement in some]))
        else:
            back = _settle_singly(connection, list(some), now) or back
    return back


def extend(connection: sqlite3.Connection, receipts: Sequence[bytes], until: float) -> None:
    """Let leases end at `until`; a lease of which only a part is meant is split."""
    read = read_receipts(receipts)
    wanted = set(read)
    touched = {lease for token, row in read if row > 0 and (lease := _covering(connection, token, row))}
    for lease in touched:
        old = connection.execute("select until from lease where first = ?", (lease.first,)).fetchone()[0]
        rows = connection.execute("select seq from queue where seq between ? and ?", lease[:2]).fetchall()
        connection.execute("delete from lease where first = ?", (lease.first,))
        for meant, group in groupby((seq for (seq,) in rows), lambda seq: (lease.token, seq) in wanted):  # noqa: B023 - consumed inside the loop
            part = list(group)
            connection.execute(
                "insert into lease (first, last, token, until) values (?, ?, ?, ?)",
                (part[0], part[-1], lease.token, until if meant else old),
            )
    connection.executemany(
        "update back set at = ? where key = ? and token = ?",
        [(until, -row, token) for token, row in read if row < 0],
    )


def expire(connection: sqlite3.Connection, now: float) -> None:
    """Make what was leased and not settled in time ready again, counted as delivered."""
    expired = connection.execute(
        "select first, last, token, until from lease where until <= ?", (now,)
    ).fetchall()
    for first, last, token, until in expired:
        connection.execute(_EXPIRED_TO_BACK, (until, token, first, last))
        connection.execute("delete from queue where seq between ? and ?", (first, last))
        connection.execute("delete from lease where first = ?", (first,))


def release_owner(connection: sqlite3.Connection, owner: int, now: float) -> int:
    """Release every lease of an owner, uncounted; return how many messages came back."""
    span = (owner << 32, (owner << 32) + 0xFFFFFFFF)
    count = 0
    found = connection.execute("select first, last from lease where token between ? and ?", span).fetchall()
    for first, last in found:
        count += connection.execute(_RANGE_TO_BACK, (now, first, last)).rowcount
        connection.execute("delete from queue where seq between ? and ?", (first, last))
        connection.execute("delete from lease where first = ?", (first,))
    return count + connection.execute(_BACK_RECLAIM, (now, *span)).rowcount


def _is_ack(settlement: Settlement) -> bool:
    return settlement.action is Action.ACK


def _acknowledge(connection: sqlite3.Connection, receipts: list[tuple[int, int]]) -> None:
    start = end = owner = 0
    for token, row in sorted(receipts):
        if row <= 0:
            connection.execute(_BACK_DELETE, (-row, token))
        elif token == owner and row <= end + 1:
            end = row
        else:
            _delete_range(connection, owner, start, end)
            start, end, owner = row, row, token
    _delete_range(connection, owner, start, end)


def _delete_range(connection: sqlite3.Connection, token: int, start: int, end: int) -> None:
    """Delete the rows from `start` to `end` as far as they are leased under `token`."""
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
                _tidy(connection, lease)
        end = lease.first - 1


def _settle_singly(connection: sqlite3.Connection, settlements: list[Settlement], now: float) -> bool:
    back = False
    receipts = read_receipts([settlement.receipt for settlement in settlements])
    for settlement, (token, row) in zip(settlements, receipts, strict=True):
        if row < 0:
            _settle_returned(connection, settlement, token, -row, now)
        elif lease := _covering(connection, token, row):
            _settle_first(connection, settlement, row, now)
            if row == lease.last:
                _tidy(connection, lease)
        back = back or settlement.action is not Action.DEAD_LETTER
    return back


def _settle_first(connection: sqlite3.Connection, settlement: Settlement, seq: int, now: float) -> None:
    """Move a message that was leased for the first time out of `queue`."""
    failures, crashes = settlement.failures, settlement.crashes
    if settlement.action is Action.RETRY:
        connection.execute(_QUEUE_TO_BACK, (now + settlement.delay, 1, failures, crashes, seq))
    elif settlement.action is Action.RELEASE:
        connection.execute(_QUEUE_TO_BACK, (now + settlement.delay, 0, 0, 0, seq))
    else:
        connection.execute(_QUEUE_TO_BURIED, (now, settlement.reason, failures, crashes, seq))
    connection.execute("delete from queue where seq = ?", (seq,))


def _settle_returned(
    connection: sqlite3.Connection, settlement: Settlement, token: int, key: int, now: float
) -> None:
    """Settle a message that had been leased or delayed before."""
    failures, crashes = settlement.failures, settlement.crashes
    if settlement.action is Action.RETRY:
        connection.execute(_BACK_RETRY, (now + settlement.delay, failures, crashes, key, token))
    elif settlement.action is Action.RELEASE:
        connection.execute(_BACK_RELEASE, (now + settlement.delay, key, token))
    else:
        connection.execute(_BACK_TO_BURIED, (now, settlement.reason, failures, crashes, key, token))
        connection.execute(_BACK_DELETE, (key, token))


def _covering(connection: sqlite3.Connection, token: int, seq: int) -> Lease | None:
    found = connection.execute(_COVERING, (seq,)).fetchone()
    if found is None:
        return None
    lease = Lease(*found)
    return lease if lease.token == token and seq <= lease.last else None


def _tidy(connection: sqlite3.Connection, lease: Lease) -> None:
    """Let the lease end at a row that exists, or drop it if none is left."""
    left = connection.execute(_LAST_LEFT, (lease.first, lease.last)).fetchone()[0]
    if left is None:
        connection.execute("delete from lease where first = ?", (lease.first,))
    else:
        connection.execute("update lease set last = ? where first = ?", (left, lease.first))
