"""Decides how a transaction is alone with a key."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, bindparam, func, select

from qcore_sql.expressions import MARIADB, one_of
from qcore_sql.schema import LOCK, LOCKS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qcore_sql.session import Session

TAKE: Final = select(func.pg_advisory_xact_lock(bindparam("number", type_=BigInteger())))
TAKE_ROWS: Final = (
    select(LOCK.c.number).where(one_of(LOCK.c.number, "numbers")).order_by(LOCK.c.number).with_for_update()
)


def lock(session: Session, kind: str, queue: str, items: Iterable[str]) -> None:
    """Wait until no other transaction has locked one of these items; lock them until the end of this one."""
    numbers = {_number(kind, queue, item) for item in items}
    # in one order, so that two processes do not wait for each other
    if session.is_postgresql:
        for number in sorted(numbers):
            session.rows(TAKE, number=number)
    elif session.dialect in MARIADB and numbers:
        session.rows(TAKE_ROWS, numbers=sorted({number % LOCKS for number in numbers}))


def _number(kind: str, queue: str, item: str) -> int:
    name = f"qcore {kind} {queue} {item}".encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big", signed=True)
