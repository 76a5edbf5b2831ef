"""Decides when idle workers are woken."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from sqlalchemy import Text, bindparam, func, select

from qcore_sql import messages
from qcore_sql.compiled import Varied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.model import Outgoing
    from qcore_sql.session import Session

_CALL: Final = func.pg_notify(bindparam("channel", type_=Text()), "")
NOTIFY: Final = select(_CALL)
#: one statement, so that a message costs one round trip
ENQUEUE_AND_NOTIFY: Final = Varied(
    lambda dialect: select(_CALL).add_cte(messages.ENQUEUE.make(dialect).cte("added"))
)


def channel(queue: str) -> str:
    """Return the name under which workers are notified of messages of a queue."""
    return f"qcore_{blake2b(queue.encode(), digest_size=8).hexdigest()}"


def notify(session: Session, queue: str) -> None:
    """Wake one who waits for messages of a queue, when the transaction is committed."""
    if session.is_postgresql:
        session.rows(NOTIFY, channel=channel(queue))


def put_and_notify(session: Session, queue: str, new: Sequence[Outgoing]) -> None:
    """Accept messages as part of a transaction, in one statement of PostgreSQL if all are plain."""
    if not session.is_postgresql or not all(map(messages.is_plain, new)):
        if messages.put(session, queue, new):
            notify(session, queue)
        return
    values = messages.ENQUEUE.values([(message.body,) for message in new], queue=queue)
    session.rows(ENQUEUE_AND_NOTIFY, channel=channel(queue), **values)
