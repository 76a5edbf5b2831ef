"""Which messages are dead letters, and how they are requeued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Integer, bindparam, delete, insert, select, update

from qcore.model import DeadLetter
from qcore_plugin_support import count_of, epoch_seconds
from qcore_sql.expressions import now, one_of, value
from qcore_sql.notify import notify
from qcore_sql.schema import DEAD_LETTER, MESSAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_sql.session import Session

_D = DEAD_LETTER.c
_QUEUE = _D.queue == value("queue", _D.queue)
_MINE = _QUEUE & one_of(_D.seq, "seqs")

LISTED: Final = (
    select(_D.seq, _D.body, _D.reason, _D.died, _D.failures, _D.crashes)
    .where(_QUEUE, _D.seq > value("after", _D.seq))
    .order_by(_D.seq)
    .limit(bindparam("limit", type_=Integer()))
)
#: locked, so that of two that requeue one letter at once only the first does
REQUEUE: Final = insert(MESSAGE).from_select(
    ["queue", "task_queue", "priority", "due", "body"],
    select(_D.queue, _D.task_queue, _D.priority, now(), _D.body)
    .where(_MINE)
    .order_by(_D.seq)
    .with_for_update(),
)
DELETE: Final = delete(DEAD_LETTER).where(_MINE)
REPLACE: Final = (
    update(DEAD_LETTER)
    .where(_QUEUE, _D.seq == value("old_seq", _D.seq))
    .values(body=value("new_body", _D.body))
)
CLEAR: Final = delete(DEAD_LETTER).where(_QUEUE)


def listed(session: Session, queue: str, limit: int, after: str | None) -> list[DeadLetter]:
    """Return dead letters in the order in which they were dead-lettered."""
    behind = 0 if after is None else _number(after)
    if after is not None and not behind:
        return []
    rows = session.rows(LISTED, queue=queue, after=behind, limit=limit)
    return [
        DeadLetter(str(seq), body, reason, epoch_seconds(died), count_of(failures), count_of(crashes))
        for seq, body, reason, died, failures, crashes in rows
    ]


def requeue(session: Session, queue: str, ids: Sequence[str]) -> int:
    """Make dead letters ready again; return how many."""
    seqs = sorted({_number(text) for text in ids})
    moved = session.run(REQUEUE, queue=queue, seqs=seqs)
    if moved:
        session.run(DELETE, queue=queue, seqs=seqs)
        notify(session, queue)
    return moved


def delete_letters(session: Session, queue: str, ids: Sequence[str]) -> int:
    """Remove dead letters; return how many."""
    return session.run(DELETE, queue=queue, seqs=sorted({_number(text) for text in ids}))


def replace(session: Session, queue: str, id: str, body: bytes) -> bool:
    """Give a dead letter another body; return whether there was one."""
    return session.run(REPLACE, queue=queue, old_seq=_number(id), new_body=body) > 0


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
