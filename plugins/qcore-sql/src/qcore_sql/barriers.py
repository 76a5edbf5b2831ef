"""Decides how fan-in barriers are stored in tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Double, Integer, bindparam, delete, select

from qcore_sql.compiled import Insert, or_nothing, short_key, upsert
from qcore_sql.expressions import now, one_of, value
from qcore_sql.locks import lock
from qcore_sql.schema import BARRIER, BARRIER_MEMBER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.coordination import BarrierMember
    from qcore_sql.session import Session

#: expired barriers deleted in one transaction; each may have thousands of members
SWEEP_BATCH: Final = 20

_B, _M = BARRIER.c, BARRIER_MEMBER.c
_QUEUE = _B.queue == value("queue", _B.queue)
_OF_QUEUE = _M.queue == value("queue", _M.queue)

#: those of these barriers that have not expired
LIVE: Final = select(_B.item).where(_QUEUE, one_of(_B.item, "items"), _B.expires > now())
#: the members of a barrier, without what they brought
COUNTED: Final = select(_M.item, _M.member).where(_OF_QUEUE, one_of(_M.item, "items"))
ADD: Final = Insert(
    BARRIER_MEMBER,
    fixed={"queue": value("queue", _M.queue)},
    varying=["item", "member", "body"],
    then=or_nothing,
)
EXTEND: Final = upsert(BARRIER, expires=now() + bindparam("ttl", type_=Double()))
MEMBERS: Final = (
    select(_M.member, _M.body)
    .join(BARRIER, (_M.queue == _B.queue) & (_M.item == _B.item))
    .where(_OF_QUEUE, _M.item == value("item", _M.item), _B.expires > now())
    .order_by(_M.member)
)
DELETE_MEMBERS: Final = delete(BARRIER_MEMBER).where(_OF_QUEUE, one_of(_M.item, "items"))
DELETE: Final = delete(BARRIER).where(_QUEUE, one_of(_B.item, "items"))
EXPIRED: Final = (
    select(_B.item)
    .where(_QUEUE, _B.expires <= now())
    .order_by(_B.item)
    .limit(bindparam("limit", type_=Integer()))
)


def join(session: Session, queue: str, members: Sequence[BarrierMember], ttl: float) -> list[int]:
    """Add members to barriers; return the number of members after each."""
    arrivals = [(short_key(one.key), one.index, one.body) for one in members]
    items = sorted({item for item, _, _ in arrivals})
    lock(session, "barrier", queue, items)
    live = {item for (item,) in session.rows(LIVE, queue=queue, items=items)}
    if gone := [item for item in items if item not in live]:
        session.run(DELETE_MEMBERS, queue=queue, items=gone)
    present: dict[str, set[int]] = {item: set() for item in items}
    for item, member in session.rows(COUNTED, queue=queue, items=items):
        present[item].add(member)
    counts = []
    for item, member, _ in arrivals:
        present[item].add(member)
        counts.append(len(present[item]))
    session.insert(ADD, arrivals, queue=queue)
    session.run_each(EXTEND, [{"queue": queue, "item": item, "ttl": ttl} for item in items])
    return counts


def members(session: Session, queue: str, key: str) -> dict[int, bytes]:
    """Return what the members of a barrier brought, by index."""
    return dict(session.rows(MEMBERS, queue=queue, item=short_key(key)))


def delete_barriers(session: Session, queue: str, keys: Sequence[str]) -> None:
    """Delete barriers with their members."""
    items = sorted({short_key(key) for key in keys})
    lock(session, "barrier", queue, items)
    _delete(session, queue, items)


def sweep(session: Session, queue: str) -> bool:
    """Delete expired barriers; return whether there may be more."""
    found = [item for (item,) in session.rows(EXPIRED, queue=queue, limit=SWEEP_BATCH)]
    lock(session, "barrier", queue, found)
    # a member may have joined meanwhile
    live = {item for (item,) in session.rows(LIVE, queue=queue, items=found)}
    _delete(session, queue, [item for item in found if item not in live])
    return len(found) >= SWEEP_BATCH


def _delete(session: Session, queue: str, items: Sequence[str]) -> None:
    if items:
        session.run(DELETE_MEMBERS, queue=queue, items=list(items))
        session.run(DELETE, queue=queue, items=list(items))
