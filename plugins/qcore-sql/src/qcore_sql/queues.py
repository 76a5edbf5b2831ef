"""Decides what is done with one queue of tasks of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Integer, bindparam, case, func, or_, select, update

from qcore.interfaces import QueueState, Waiting
from qcore.model import ID_AT, QueueSize
from qcore_sql.expressions import now, one_of, value
from qcore_sql.messages import DELETE, LEASED, by_number
from qcore_sql.schema import MESSAGE, TASK_QUEUE
from qcore_sql.streams import OF_STREAM, all_streams, by_priority, paused, register

if TYPE_CHECKING:
    from collections.abc import Collection

    from qcore_sql.session import Session
    from qcore_sql.streams import Found

_M = MESSAGE.c
_T = TASK_QUEUE.c
_QUEUE: Final = _M.queue == value("queue", _M.queue)
_LIMIT: Any = bindparam("limit", type_=Integer())
_WAITS: Final = or_(_M.token.is_(None), _M.due <= now())


def _number(condition: Any) -> Any:  # noqa: ANN401 - an expression
    return func.sum(case((condition, 1), else_=0))


COUNTS: Final = (
    select(
        _M.task_queue,
        _number(_M.due <= now()),
        _number(LEASED),
        _number(_M.token.is_(None) & (_M.due > now())),
    )
    .where(_QUEUE)
    .group_by(_M.task_queue)
)
READY: Final = (
    select(_M.body, _M.due).where(OF_STREAM, _M.due <= now()).order_by(_M.due, _M.seq).limit(_LIMIT)
)
DELAYED: Final = (
    select(_M.body, _M.due - now())
    .where(OF_STREAM, _M.token.is_(None), _M.due > now())
    .order_by(_M.due, _M.seq)
    .limit(_LIMIT)
)
#: what is locked is being leased, or was not committed: MariaDB would wait for the end of either
UNLEASED: Final = (
    select(_M.seq)
    .where(
        _QUEUE,
        _M.task_queue == value("task_queue", _M.task_queue),
        _M.seq <= value("last", _M.seq),
        _WAITS,
    )
    .limit(_LIMIT)
    .with_for_update(skip_locked=True)
)
MOVE: Final = by_number(update(MESSAGE).where(one_of(_M.seq, "seqs"))).values(
    task_queue=value("target", _M.task_queue)
)
PAUSE: Final = (
    update(TASK_QUEUE)
    .where(_T.queue == value("queue", _T.queue), _T.task_queue == value("task_queue", _T.task_queue))
    .values(paused=value("now_paused", _T.paused))
)


def listed(session: Session, queue: str) -> list[QueueState]:
    """Return the queues that have messages or are paused, and the default one."""
    sizes = {name: QueueSize(int(a), int(b), int(c)) for name, a, b, c in session.rows(COUNTS, queue=queue)}
    streams, closed = all_streams(session, queue), paused(session, queue)
    return [
        QueueState(
            name,
            sizes.get(name, QueueSize(0, 0, 0)),
            name in closed,
            _oldest(session, queue, [one for one in streams if one.stream.queue == name]),
        )
        for name in sorted({"", *sizes, *closed})
    ]


def first(session: Session, queue: str) -> bytes | None:
    """Return the body of the ready message that was enqueued first, by the first of each stream."""
    return _oldest(session, queue, all_streams(session, queue))


def pause(session: Session, queue: str, task_queue: str, paused: bool) -> None:  # noqa: FBT001 - passed on by position
    """Pause a queue, or resume it."""
    register(session, queue, [task_queue])
    session.run(PAUSE, queue=queue, task_queue=task_queue, now_paused=paused)


def purge(session: Session, queue: str, task_queue: str, *, last: int, limit: int) -> int:
    """Remove some ready and delayed messages of those up to `last`; return how many."""
    seqs = _unleased(session, queue, task_queue, last, limit)
    return session.run(DELETE, seqs=seqs) if seqs else 0


def move(session: Session, queue: str, source: str, target: str, *, last: int, limit: int) -> int:
    """Put some ready and delayed messages of those up to `last` into another queue; return how many."""
    register(session, queue, [target])
    seqs = _unleased(session, queue, source, last, limit)
    return session.run(MOVE, seqs=seqs, target=target) if seqs else 0


def waiting(session: Session, queue: str, limit: int, task_queue: str | None) -> list[Waiting]:
    """Return messages that are not leased, those that are leased first in front."""
    streams = by_priority(
        one for one in all_streams(session, queue) if task_queue in {None, one.stream.queue}
    )
    found: list[Waiting] = []
    for statement in (READY, DELAYED):
        for stream, *_ in streams:
            names = {"task_queue": stream.queue, "priority": stream.priority}
            rows = session.rows(statement, queue=queue, limit=max(0, limit - len(found)), **names)
            found += [
                Waiting(body, stream.queue, stream.priority, 0.0 if statement is READY else delay)
                for body, delay in rows
            ]
            if len(found) >= limit:
                return found
    return found


def _unleased(session: Session, queue: str, task_queue: str, last: int, limit: int) -> list[int]:
    rows = session.rows(UNLEASED, queue=queue, task_queue=task_queue, last=last, limit=limit)
    return [seq for (seq,) in rows]


def _oldest(session: Session, queue: str, streams: Collection[Found]) -> bytes | None:
    bodies: list[bytes] = []
    for (task_queue, priority), wait, _ in streams:
        if wait <= 0:
            rows = session.rows(READY, queue=queue, task_queue=task_queue, priority=priority, limit=1)
            bodies += [bytes(body) for body, _ in rows]
    return min(bodies, key=lambda body: body[ID_AT], default=None)
