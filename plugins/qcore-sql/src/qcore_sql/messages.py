"""Decides which statements lease, settle and count messages."""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    Double,
    Integer,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    update,
)

from qcore.model import Action, Delivery, QueueSize, Settlement
from qcore_plugin_support import count_of, epoch_seconds
from qcore_sql.compiled import Insert, Varied, clean
from qcore_sql.expressions import JSON, MARIADB, now, one_of, value
from qcore_sql.schema import DEAD_LETTER, MESSAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.model import Outgoing
    from qcore_sql.session import Session

#: the priority of messages, as long as there is one
PRIORITY: Final = 0
#: the lease's token and the row
RECEIPT: Final = struct.Struct(">qq")

#: largest counter
_MOST: Final = 2**31 - 1

_M = MESSAGE.c
_QUEUE = _M.queue == value("queue", _M.queue)
_DELAY: Any = bindparam("delay", type_=Double())
_SECONDS: Any = bindparam("seconds", type_=Double())
_FAILURES, _CRASHES = value("failures", _M.failures), value("crashes", _M.crashes)
_LEASED = _M.token.is_not(None) & (_M.due > now())

_FIXED: Final = {"queue": value("queue", _M.queue), "priority": literal(PRIORITY, Integer()), "due": now()}
ENQUEUE: Final = Insert(MESSAGE, fixed=_FIXED, varying=["body"])
ENQUEUE_LATER: Final = Insert(
    MESSAGE,
    fixed={key: _FIXED[key] for key in ("queue", "priority")},
    varying=["due", "body"],
    # parameters are seconds from now
    change={"due": lambda seconds: now() + seconds},
)


#: In a short table MariaDB would read all rows for a list of numbers, and wait for the end of each
#: transaction that has enqueued. A join by the index touches the rows of the list only.
_DELETE_OF_MARIADB: Final = (
    "DELETE qcore_message FROM JSON_TABLE(" + JSON.format("seqs") + ", '$[*]' COLUMNS (seq BIGINT PATH '$'))"
    " AS chosen STRAIGHT_JOIN qcore_message FORCE INDEX (PRIMARY) ON qcore_message.seq = chosen.seq"
)


def _delete(condition: Any, of_mariadb: str = "") -> Varied:  # noqa: ANN401 - an expression
    """Return a statement that deletes rows by their numbers."""

    def make(dialect: str) -> Any:  # noqa: ANN401 - an executable statement
        if dialect in MARIADB:
            return text(_DELETE_OF_MARIADB + of_mariadb)
        return delete(MESSAGE).where(condition)

    return Varied(make)


def _by_number(statement: Any) -> Any:  # noqa: ANN401 - an UPDATE
    """Have MariaDB change rows by their numbers: by another index it would wait for what is not committed."""
    return statement.with_hint("FORCE INDEX (PRIMARY)", dialect_name="mysql")


# a row that is not ours may have any number
_ONE_MORE = case((_M.deliveries < _MOST, _M.deliveries + 1), else_=_MOST)
_ONE_LESS = case((_M.deliveries > 0, _M.deliveries - 1), else_=0)
_READY = (
    select(_M.seq, _M.due, _M.token)
    .where(_QUEUE, _M.priority == PRIORITY, _M.due <= now())
    .order_by(_M.due, _M.seq)
    .limit(bindparam("limit", type_=Integer()))
    .with_for_update(skip_locked=True)
)
FIRST: Final = (
    select(_M.body).where(_QUEUE, _M.priority == PRIORITY, _M.due <= now()).order_by(_M.due, _M.seq).limit(1)
)
_FOUND = _READY.cte("found")
_LEASE: Final = {"token": value("new_token", _M.token), "due": now() + _SECONDS, "deliveries": _ONE_MORE}
#: A row that still has a token belongs to a lease that has expired. The rows are chosen in a query of its
#: own that is executed once, whatever the plan.
CLAIM: Final = (
    update(MESSAGE)
    .where(_M.seq == _FOUND.c.seq)
    .values(_LEASE)
    .returning(_FOUND.c.due, _M.seq, _FOUND.c.token, _M.body, _M.deliveries, _M.failures, _M.crashes)
)
#: the same where a change returns no rows, with the index that a server with old statistics may not choose
CHOOSE: Final = _READY.add_columns(_M.body, _M.deliveries, _M.failures, _M.crashes).with_hint(
    MESSAGE, "FORCE INDEX (qcore_message_due)", "mysql"
)
MARK: Final = _by_number(update(MESSAGE).where(one_of(_M.seq, "seqs"))).values(_LEASE)
#: seconds until the first message can be leased
NEXT: Final = select(_M.due - now()).where(_QUEUE, _M.priority == PRIORITY).order_by(_M.due, _M.seq).limit(1)

_MINE = (_M.token == value("old_token", _M.token)) & one_of(_M.seq, "seqs")
ACK: Final = _delete(_MINE, " WHERE qcore_message.token = :old_token")
RELEASE: Final = _by_number(update(MESSAGE).where(_MINE)).values(
    token=None, due=now() + _DELAY, deliveries=_ONE_LESS
)
EXTEND: Final = _by_number(update(MESSAGE).where(_MINE)).values(due=now() + _SECONDS)
_ONE = (_M.seq == value("old_seq", _M.seq)) & (_M.token == value("old_token", _M.token))
RETRY: Final = (
    update(MESSAGE).where(_ONE).values(token=None, due=now() + _DELAY, failures=_FAILURES, crashes=_CRASHES)
)
DELETE_ONE: Final = delete(MESSAGE).where(_ONE)
HELD: Final = select(_M.seq).where(_ONE)
_D = DEAD_LETTER.c
SET_ASIDE: Final = insert(DEAD_LETTER).from_select(
    ["queue", "priority", "died", "failures", "crashes", "reason", "body"],
    select(_M.queue, _M.priority, now(), _FAILURES, _CRASHES, value("reason", _D.reason), _M.body)
    .where(_ONE)
    .with_for_update(),
)
#: a lease that has ended is delivered by itself, so only the others are looked for
_OWNED = and_(
    _QUEUE,
    _LEASED,
    _M.token.between(bindparam("first", type_=_M.token.type), bindparam("last", type_=_M.token.type)),
)
_UNDELIVERED: Final = {"token": None, "due": now(), "deliveries": _ONE_LESS}
RELEASE_OWNER: Final = update(MESSAGE).where(_OWNED).values(_UNDELIVERED)
#: the same in two statements, because MariaDB would wait for the end of transactions that have enqueued
FIND_OWNED: Final = select(_M.seq).where(_OWNED).with_for_update(skip_locked=True)
RELEASE_OWNED: Final = _by_number(update(MESSAGE).where(one_of(_M.seq, "seqs"))).values(_UNDELIVERED)

DELETE: Final = _delete(one_of(_M.seq, "seqs"))
CLEAR: Final = delete(MESSAGE).where(_QUEUE)


def _count(*conditions: Any) -> Any:  # noqa: ANN401 - a query
    return select(func.count()).select_from(MESSAGE).where(_QUEUE, *conditions).scalar_subquery()


SIZE: Final = select(
    _count(_M.due <= now()),
    _count(_LEASED),
    _count(_M.token.is_(None), _M.due > now()),
    select(func.count())
    .select_from(DEAD_LETTER)
    .where(_D.queue == value("queue", _D.queue))
    .scalar_subquery(),
)


def size(session: Session, queue: str) -> QueueSize:
    """Count the messages by state."""
    found = session.one(SIZE, queue=queue)
    assert found is not None
    return QueueSize(*found)


def first(session: Session, queue: str) -> bytes | None:
    """Return the body of the message that has been due for longest."""
    found = session.one(FIRST, queue=queue)
    return bytes(found[0]) if found else None


def put(session: Session, queue: str, messages: Sequence[Outgoing]) -> bool:
    """Accept messages as part of a transaction; return whether any can be leased at once."""
    ready = [(message.body,) for message in messages if message.delay <= 0]
    session.insert(ENQUEUE, ready, queue=queue)
    later = [(message.delay, message.body) for message in messages if message.delay > 0]
    session.insert(ENQUEUE_LATER, later, queue=queue)
    return bool(ready)


def new_token(owner: int) -> int:
    """Return a number that is unique to a lease: the owner's 31 bits and 32 random ones."""
    return owner << 32 | int.from_bytes(os.urandom(4), "big")


def owner_number(owner: bytes) -> int:
    """Return the first 31 bits of every token of `owner`; random bits if `owner` is empty."""
    return int.from_bytes((owner or os.urandom(4))[:4], "big") >> 1


def release_owner(session: Session, queue: str, owner: int) -> int:
    """Release every lease of an owner without counting it as a delivery; return how many messages."""
    tokens = {"first": owner << 32, "last": (owner << 32) + 0xFFFFFFFF}
    if session.is_postgresql:
        return session.run(RELEASE_OWNER, queue=queue, **tokens)
    seqs = [seq for (seq,) in session.rows(FIND_OWNED, queue=queue, **tokens)]
    return session.run(RELEASE_OWNED, seqs=seqs) if seqs else 0


def claim(session: Session, queue: str, owner: int, limit: int, seconds: float) -> list[Delivery]:
    """Lease messages in one statement."""
    token = new_token(owner)
    if session.is_postgresql:
        rows = session.rows(CLAIM, queue=queue, limit=limit, new_token=token, seconds=seconds)
        # a change returns its rows in any order
        chosen = sorted(((due, seq, *rest) for due, seq, *rest in rows), key=lambda row: row[:2])
    else:
        chosen = [
            (due, seq, old, body, count_of(deliveries) + 1, failures, crashes)
            for seq, due, old, body, deliveries, failures, crashes in session.rows(
                CHOOSE, queue=queue, limit=limit
            )
        ]
        seqs = [row[1] for row in chosen]
        if seqs:
            session.run(MARK, seqs=seqs, new_token=token, seconds=seconds)
    pack = RECEIPT.pack
    return [
        Delivery(
            body,
            pack(token, seq),
            max(1, count_of(deliveries)),
            count_of(failures),
            count_of(crashes),
            0.0 if old is None else epoch_seconds(due),
        )
        for due, seq, old, body, deliveries, failures, crashes in chosen
    ]


def extend(session: Session, receipts: Sequence[bytes], seconds: float) -> None:
    """Let leases end `seconds` from now."""
    for token, seqs in _by_token(receipts).items():
        session.run(EXTEND, old_token=token, seqs=seqs, seconds=seconds)


def settle(session: Session, settlements: Sequence[Settlement]) -> bool:
    """End leases; return whether any message can be leased again at once."""
    # of two settlements of one receipt the first takes effect
    first: dict[bytes, Settlement] = {}
    for settlement in settlements:
        first.setdefault(settlement.receipt, settlement)
    kinds: defaultdict[Action, list[Settlement]] = defaultdict(list)
    for settlement in first.values():
        if len(settlement.receipt) == RECEIPT.size:
            kinds[settlement.action].append(settlement)
    for token, seqs in _by_token([one.receipt for one in kinds[Action.ACK]]).items():
        session.run(ACK, old_token=token, seqs=seqs)
    delays: defaultdict[float, list[bytes]] = defaultdict(list)
    for one in kinds[Action.RELEASE]:
        delays[one.delay].append(one.receipt)
    for delay, receipts in delays.items():
        for token, seqs in _by_token(receipts).items():
            session.run(RELEASE, old_token=token, seqs=seqs, delay=delay)
    retries = kinds[Action.RETRY]
    session.run_each(RETRY, [_row(one) | {"delay": one.delay} for one in retries])
    letters = kinds[Action.DEAD_LETTER]
    session.run_each(SET_ASIDE, [_row(one) | {"reason": clean(one.reason)} for one in letters])
    session.run_each(DELETE_ONE, [_names(one) for one in letters])
    return any(one.delay <= 0 for one in (*kinds[Action.RELEASE], *retries))


def is_held(session: Session, receipt: bytes) -> bool:
    """Return whether a lease has not passed to another."""
    return len(receipt) == RECEIPT.size and session.one(HELD, **_names(Settlement(receipt))) is not None


def settle_held(session: Session, settlement: Settlement) -> bool:
    """End a lease by ACK or RETRY as part of a transaction; return False if it has passed to another."""
    if len(settlement.receipt) != RECEIPT.size:
        return False
    if settlement.action is Action.ACK:
        return session.run(DELETE_ONE, **_names(settlement)) > 0
    return session.run(RETRY, **_row(settlement), delay=settlement.delay) > 0


def _names(settlement: Settlement) -> dict[str, Any]:
    token, seq = RECEIPT.unpack(settlement.receipt)
    return {"old_token": token, "old_seq": seq}


def _row(settlement: Settlement) -> dict[str, Any]:
    return _names(settlement) | {"failures": settlement.failures, "crashes": settlement.crashes}


def _by_token(receipts: Sequence[bytes]) -> dict[int, list[int]]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for receipt in receipts:
        if len(receipt) == RECEIPT.size:
            token, seq = RECEIPT.unpack(receipt)
            found[token].append(seq)
    # rows are locked in one order by all processes
    return {token: sorted(seqs) for token, seqs in sorted(found.items())}
