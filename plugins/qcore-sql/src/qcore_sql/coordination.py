"""Decides how flags, permits and rate slots are stored in tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Double, Integer, bindparam, delete, or_, select, tuple_

from qcore.coordination import CoordinationStore
from qcore_sql import barriers
from qcore_sql.compiled import short_key, upsert
from qcore_sql.database import Database
from qcore_sql.expressions import now, one_of, value
from qcore_sql.locks import lock
from qcore_sql.schema import COORDINATION, FLAG, PERMIT, RATE, RATE_SLOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.coordination import BarrierMember
    from qcore.interfaces import Settings
    from qcore_sql.session import Session

#: seconds for which a rate slot is kept for a holder that does not ask again
SLOT_TTL: Final = 86400.0
#: seconds; no rate slot is assigned so far ahead
_LAST_SLOT: Final = 3650 * 86400.0
#: a row that is not ours may have a number that leaves none for the next
_LAST_NUMBER: Final = 1 << 62
#: epoch seconds; no permit lasts so long
_NEVER: Final = 1e15
#: expired rows deleted in one transaction, so that workers can write in between
SWEEP_BATCH: Final = 5000

_TTL: Any = bindparam("ttl", type_=Double())
_F, _P, _R, _S = FLAG.c, PERMIT.c, RATE.c, RATE_SLOT.c


def _of(table: Any) -> Any:  # noqa: ANN401 - an expression
    """Return whether a row is of the queue and the item."""
    return (table.c.queue == value("queue", table.c.queue)) & (table.c.item == value("item", table.c.item))


SET_FLAG: Final = upsert(FLAG, expires=now() + _TTL)
CLEAR_FLAG: Final = delete(FLAG).where(_of(FLAG))
GET_FLAGS: Final = select(_F.item, _F.value).where(
    _F.queue == value("queue", _F.queue), one_of(_F.item, "items"), _F.expires > now()
)

_HOLDER = _P.holder == value("holder", _P.holder)
#: a time that is not a number, or infinity, would hold a permit for ever
EXPIRE_PERMITS: Final = delete(PERMIT).where(_of(PERMIT), or_(_P.expires <= now(), _P.expires >= _NEVER))
PERMITS: Final = select(_P.holder, _P.number).where(_of(PERMIT)).order_by(_P.number)
HOLD: Final = upsert(PERMIT, expires=now() + _TTL)
RELEASE: Final = delete(PERMIT).where(_of(PERMIT), _HOLDER)

_SLOT = _of(RATE_SLOT) & (_S.holder == value("holder", _S.holder))
_AHEAD = now() + _LAST_SLOT
GET_SLOT: Final = select(_S.due - now()).where(_SLOT, _S.expires > now(), _S.due < _AHEAD)
DELETE_SLOT: Final = delete(RATE_SLOT).where(_SLOT)
ADD_SLOT: Final = upsert(
    RATE_SLOT,
    due=now() + bindparam("wait", type_=Double()),
    expires=now() + bindparam("wait", type_=Double()) + SLOT_TTL,
)
GET_LATEST: Final = select(_R.due - now()).where(_of(RATE), _R.due < _AHEAD)
SET_LATEST: Final = upsert(RATE, due=now() + bindparam("wait", type_=Double()), expires=now() + _TTL)


def _sweep(table: Any) -> Any:  # noqa: ANN401 - a statement
    keys = list(table.primary_key.columns)
    expired = select(*keys).where(table.c.expires <= now(), table.c.queue == value("queue", table.c.queue))
    some = expired.limit(bindparam("limit", type_=Integer())).with_for_update(skip_locked=True)
    # a query of its own, because MariaDB takes no limit in a condition
    chosen = some.subquery("some")
    return delete(table).where(tuple_(*keys).in_(select(*(chosen.c[key.name] for key in keys))))


SWEEPS: Final = tuple(_sweep(table) for table in (FLAG, PERMIT, RATE_SLOT, RATE))
CLEARS: Final = tuple(
    delete(table).where(table.c.queue == value("queue", table.c.queue)) for table in COORDINATION
)


class SqlCoordination(CoordinationStore):
    """The coordination store in the same database as a queue; each call is one transaction."""

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self._database = database or Database(settings)
        self._queue = settings.name

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Store a value for `ttl` seconds; b"" deletes it."""
        self._database.single(_set_flag, self._queue, short_key(key), value, ttl)

    def set_flags(self, flags: Mapping[str, bytes], ttl: float) -> None:
        """Store values for `ttl` seconds in one transaction; b"" deletes one."""
        if flags:
            items = {short_key(key): value for key, value in flags.items()}
            self._database.write(_set_flags, self._queue, items, ttl)

    def get_flags(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return values in the order of `keys`."""
        return self._database.read(_get_flags, self._queue, [short_key(key) for key in keys]) if keys else []

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Acquire a permit for `ttl` seconds; return None, or the first holder if all are taken."""
        return self._database.write(_acquire, self._queue, short_key(key), holder, limit, ttl)

    def release(self, permits: Sequence[tuple[str, bytes]]) -> None:
        """Release permits, given as (key, holder)."""
        if permits:
            self._database.write(_release, self._queue, permits)

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Return the seconds until the holder's rate slot; 0 if it may start now."""
        return self._database.write(_reserve, self._queue, short_key(key), holder, interval, burst)

    def join_barrier(self, members: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Add members to barriers; return the number of members after each."""
        return self._database.write(barriers.join, self._queue, members, ttl) if members else ()

    def barrier_members(self, key: str) -> Mapping[int, bytes]:
        """Return the bodies of a barrier's members by index."""
        return self._database.read(barriers.members, self._queue, key)

    def delete_barriers(self, keys: Sequence[str]) -> None:
        """Delete barriers with their members."""
        if keys:
            self._database.write(barriers.delete_barriers, self._queue, keys)

    def clear(self) -> bool:
        """Remove everything in one transaction."""
        self._database.write(_clear, self._queue)
        return True

    def prune(self) -> None:
        """Delete expired rows, `SWEEP_BATCH` in one transaction."""
        for statement in SWEEPS:
            while self._database.single(_run, statement, self._queue, SWEEP_BATCH) >= SWEEP_BATCH:
                pass
        while self._database.write(barriers.sweep, self._queue):
            pass

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


def _run(session: Session, statement: object, queue: str, limit: int) -> int:
    return session.run(statement, queue=queue, limit=limit)


def _clear(session: Session, queue: str) -> None:
    for statement in CLEARS:
        session.run(statement, queue=queue)


def _set_flag(session: Session, queue: str, item: str, value: bytes, ttl: float) -> None:
    if value:
        session.run(SET_FLAG, queue=queue, item=item, value=value, ttl=ttl)
    else:
        session.run(CLEAR_FLAG, queue=queue, item=item)


def _set_flags(session: Session, queue: str, items: Mapping[str, bytes], ttl: float) -> None:
    # rows are locked in one order by all processes
    rows = [{"queue": queue, "item": item, "value": items[item], "ttl": ttl} for item in sorted(items)]
    session.run_each(SET_FLAG, [row for row in rows if row["value"]])
    gone = [{"queue": queue, "item": row["item"]} for row in rows if not row["value"]]
    session.run_each(CLEAR_FLAG, gone)


def _get_flags(session: Session, queue: str, items: Sequence[str]) -> list[bytes | None]:
    found: dict[str, bytes] = dict(session.rows(GET_FLAGS, queue=queue, items=list(items)))
    return [found.get(item) for item in items]


def _acquire(  # noqa: PLR0917 - those of the interface
    session: Session, queue: str, item: str, holder: bytes, limit: int, ttl: float
) -> bytes | None:
    lock(session, "permit", queue, [item])
    session.run(EXPIRE_PERMITS, queue=queue, item=item)
    rows = session.rows(PERMITS, queue=queue, item=item)
    numbers: dict[bytes, int] = dict(rows)
    if holder not in numbers and len(rows) >= limit:
        return bytes(rows[0][0]) if rows else b""
    number = numbers.get(holder, min(max(numbers.values(), default=0), _LAST_NUMBER) + 1)
    session.run(HOLD, queue=queue, item=item, holder=holder, number=number, ttl=ttl)
    return None


def _release(session: Session, queue: str, permits: Sequence[tuple[str, bytes]]) -> None:
    # rows are locked in one order by all processes
    for item, holder in sorted((short_key(key), holder) for key, holder in permits):
        session.run(RELEASE, queue=queue, item=item, holder=holder)


def _reserve(  # noqa: PLR0917 - as above
    session: Session, queue: str, item: str, holder: bytes, interval: float, burst: int
) -> float:
    lock(session, "rate", queue, [item])
    known = session.one(GET_SLOT, queue=queue, item=item, holder=holder)
    if known is not None:
        if known[0] <= 0:
            session.run(DELETE_SLOT, queue=queue, item=item, holder=holder)
        return max(0.0, float(known[0]))
    latest = session.one(GET_LATEST, queue=queue, item=item)
    # while the whole burst is unused, all its slots except the last are in the past
    wait = -(burst - 1) * interval
    if latest is not None:
        wait = max(wait, latest[0] + interval)
    session.run(SET_LATEST, queue=queue, item=item, wait=wait, ttl=wait + burst * interval)
    if wait <= 0:
        return 0.0
    session.run(ADD_SLOT, queue=queue, item=item, holder=holder, wait=wait)
    return wait
