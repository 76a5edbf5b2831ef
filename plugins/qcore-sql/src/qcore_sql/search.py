"""Decides how messages are found by the id in their bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Integer, LargeBinary, bindparam, func, literal, or_, select, union_all

from qcore.model import ID_AT, KEY_ID_AT
from qcore_sql.expressions import now, one_of, value
from qcore_sql.messages import DELETE
from qcore_sql.schema import DEAD_LETTER, MESSAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Column

    from qcore_sql.session import Session

#: Messages among which one is looked for by its id; more than these are not read for one answer.
MAX_SEARCHED: Final = 100_000


def _part(column: Column[bytes], place: slice) -> Any:  # noqa: ANN401 - an expression
    start, size = place.start + 1, place.stop - place.start
    return func.substr(column, literal(start, Integer()), literal(size, Integer()), type_=LargeBinary())


_M = MESSAGE.c
_D = DEAD_LETTER.c
_QUEUE = _M.queue == value("queue", _M.queue)
_DEAD = _D.queue == value("queue", _D.queue)

#: whether there are too many messages
MORE: Final = (
    union_all(select(_M.seq).where(_QUEUE), select(_D.seq).where(_DEAD))
    .limit(1)
    .offset(bindparam("most", type_=Integer()))
)
FIND: Final = union_all(
    select(_part(_M.body, ID_AT)).where(_QUEUE, one_of(_part(_M.body, ID_AT), "ids")),
    select(_part(_D.body, ID_AT)).where(_DEAD, one_of(_part(_D.body, ID_AT), "ids")),
)
WAITING: Final = (
    select(_M.seq, _M.body)
    .where(_QUEUE, or_(_M.token.is_(None), _M.due <= now()), one_of(_part(_M.body, ID_AT), "ids"))
    # what is locked is being leased, or was not committed: MariaDB would wait for either
    .with_for_update(skip_locked=True)
)
LAST: Final = select(func.max(_M.seq)).where(_QUEUE)
#: what is locked is being leased, or was not committed: MariaDB would wait for the end of either
UNLEASED: Final = (
    select(_M.seq)
    .where(_QUEUE, _M.seq <= value("last", _M.seq), or_(_M.token.is_(None), _M.due <= now()))
    .limit(bindparam("limit", type_=Integer()))
    .with_for_update(skip_locked=True)
)
KEY_IDS: Final = select(_part(_M.body, KEY_ID_AT).label("key"), func.count()).where(_QUEUE).group_by("key")


def find_messages(session: Session, queue: str, ids: Sequence[bytes]) -> list[bytes] | None:
    """Return the ids that messages in any state bear, None if there are too many messages."""
    if session.rows(MORE, queue=queue, most=MAX_SEARCHED):
        return None
    return [*{bytes(id_) for (id_,) in session.rows(FIND, queue=queue, ids=list(ids))}]


def remove_messages(session: Session, queue: str, ids: Sequence[bytes]) -> list[bytes]:
    """Remove messages that are not leased; return their bodies."""
    found = session.rows(WAITING, queue=queue, ids=list(ids))
    if found:
        session.run(DELETE, seqs=[seq for seq, _ in found])
    return [body for _, body in found]


def key_ids(session: Session, queue: str) -> dict[bytes, int]:
    """Count messages by the key that signed them."""
    return dict(session.rows(KEY_IDS, queue=queue))


def last(session: Session, queue: str) -> int:
    """Return the number of the message that was enqueued last, 0 if there is none."""
    found = session.one(LAST, queue=queue)
    return (found[0] or 0) if found else 0


def purge(session: Session, queue: str, *, last: int, limit: int) -> int:
    """Remove some ready and delayed messages of those up to `last`; return how many."""
    seqs = [seq for (seq,) in session.rows(UNLEASED, queue=queue, last=last, limit=limit)]
    return session.run(DELETE, seqs=seqs) if seqs else 0
