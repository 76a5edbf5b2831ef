"""Decides which statements enqueue, settle and count messages."""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    Double,
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

from qcore.model import Action, QueueSize, Settlement
from qcore_sql.compiled import Insert, Varied, clean
from qcore_sql.expressions import JSON, MARIADB, now, one_of, value
from qcore_sql.schema import DEAD_LETTER, MESSAGE
from qcore_sql.streams import NO_PRIORITY, NO_QUEUE, register

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.model import Outgoing
    from qcore_sql.session import Session

#: the lease's token and the row
RECEIPT: Final = struct.Struct(">qq")

#: largest counter
MOST: Final = 2**31 - 1

_M = MESSAGE.c
_QUEUE = _M.queue == value("queue", _M.queue)
_DELAY: Any = bindparam("delay", type_=Double())
_SECONDS: Any = bindparam("seconds", type_=Double())
_FAILURES, _CRASHES = value("failures", _M.failures), value("crashes", _M.crashes)
LEASED = _M.token.is_not(None) & (_M.due > now())

ENQUEUE: Final = Insert(
    MESSAGE,
    fixed={
        "queue": value("queue", _M.queue),
        "task_queue": NO_QUEUE,
        "priority": NO_PRIORITY,
        "due": now(),
    },
    varying=["body"],
)
#: with a delay, a queue or a priority
ENQUEUE_ODD: Final = Insert(
    MESSAGE,
    fixed={"queue": value("queue", _M.queue)},
    varying=["task_queue", "priority", "due", "body"],
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


def by_number(statement: Any) -> Any:  # noqa: ANN401 - an UPDATE
    """Have MariaDB change rows by their numbers: by another index it would wait for what is not committed."""
    return statement.with_hint("FORCE INDEX (PRIMARY)", dialect_name="mysql")


_ONE_LESS = case((_M.deliveries > 0, _M.deliveries - 1), else_=0)
_MINE = (_M.token == value("old_token", _M.token)) & one_of(_M.seq, "seqs")
ACK: Final = _delete(_MINE, " WHERE qcore_message.token = :old_token")
#: what comes back as it was is in front of what has waited since, by `seq` in its order
_IN_FRONT: Any = literal(0.0, Double())
RELEASE: Final = by_number(update(MESSAGE).where(_MINE)).values(
    token=None, due=case((_DELAY > 0, now() + _DELAY), else_=_IN_FRONT), deliveries=_ONE_LESS
)
EXTEND: Final = by_number(update(MESSAGE).where(_MINE)).values(due=now() + _SECONDS)
_ONE = (_M.seq == value("old_seq", _M.seq)) & (_M.token == value("old_token", _M.token))
RETRY: Final = (
    update(MESSAGE).where(_ONE).values(token=None, due=now() + _DELAY, failures=_FAILURES, crashes=_CRASHES)
)
DELETE_ONE: Final = delete(MESSAGE).where(_ONE)
HELD: Final = select(_M.seq).where(_ONE)
_D = DEAD_LETTER.c
SET_ASIDE: Final = insert(DEAD_LETTER).from_select(
    ["queue", "task_queue", "priority", "died", "failures", "crashes", "reason", "body"],
    select(
        _M.queue,
        _M.task_queue,
        _M.priority,
        now(),
        _FAILURES,
        _CRASHES,
        value("reason", _D.reason),
        _M.body,
    )
    .where(_ONE)
    .with_for_update(),
)
#: a lease that has ended is delivered by itself, so only the others are looked for
_OWNED = and_(
    _QUEUE,
    LEASED,
    _M.token.between(bindparam("first", type_=_M.token.type), bindparam("last", type_=_M.token.type)),
)
_UNDELIVERED: Final = {"token": None, "due": _IN_FRONT, "deliveries": _ONE_LESS}
RELEASE_OWNER: Final = update(MESSAGE).where(_OWNED).values(_UNDELIVERED)
#: the same in two statements, because MariaDB would wait for the end of transactions that have enqueued
FIND_OWNED: Final = select(_M.seq).where(_OWNED).with_for_update(skip_locked=True)
RELEASE_OWNED: Final = by_number(update(MESSAGE).where(one_of(_M.seq, "seqs"))).values(_UNDELIVERED)

DELETE: Final = _delete(one_of(_M.seq, "seqs"))
CLEAR: Final = delete(MESSAGE).where(_QUEUE)


def _count(*conditions: Any) -> Any:  # noqa: ANN401 - a query
    return select(func.count()).select_from(MESSAGE).where(_QUEUE, *conditions).scalar_subquery()


SIZE: Final = select(
    _count(_M.due <= now()),
    _count(LEASED),
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


def is_plain(message: Outgoing) -> bool:
    """Return whether a message has neither a delay nor a queue nor a priority."""
    return message.delay <= 0 and not message.queue and not message.priority


def put(session: Session, queue: str, messages: Sequence[Outgoing]) -> bool:
    """Accept messages as part of a transaction; return whether any can be leased at once."""
    plain = [(message.body,) for message in messages if is_plain(message)]
    session.insert(ENQUEUE, plain, queue=queue)
    odd = [
        (message.queue, message.priority, max(0.0, message.delay), message.body)
        for message in messages
        if not is_plain(message)
    ]
    session.insert(ENQUEUE_ODD, odd, queue=queue)
    register(session, queue, {one.queue for one in messages if one.queue or one.priority})
    return any(message.delay <= 0 for message in messages)


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
