"""Decides how the status of a cluster is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Double, bindparam, delete, or_, select

from qcore_sql.compiled import clean, upsert
from qcore_sql.expressions import now, value
from qcore_sql.schema import STATUS

if TYPE_CHECKING:
    from qcore_sql.session import Session

_S = STATUS.c
_QUEUE = _S.queue == value("queue", _S.queue)

PUBLISH: Final = upsert(STATUS, expires=now() + bindparam("ttl", type_=Double()))
DELETE: Final = delete(STATUS).where(
    _QUEUE, or_(_S.cluster == value("cluster", _S.cluster), _S.expires <= now())
)
LISTED: Final = select(_S.body).where(_QUEUE, _S.expires > now()).order_by(_S.cluster)
CLEAR: Final = delete(STATUS).where(_QUEUE)


def publish(session: Session, queue: str, cluster: str, body: bytes, ttl: float) -> None:
    """Store a status for `ttl` seconds; delete those that have expired."""
    cluster = clean(cluster)
    session.run(DELETE, queue=queue, cluster=cluster)
    if body:
        session.run(PUBLISH, queue=queue, cluster=cluster, body=body, ttl=ttl)


def listed(session: Session, queue: str) -> list[bytes]:
    """Return the statuses that have not expired."""
    return [body for (body,) in session.rows(LISTED, queue=queue)]
