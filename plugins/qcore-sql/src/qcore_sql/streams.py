"""Finds the queues of tasks, and the priorities of their messages."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Integer, String, and_, exists, false, func, literal, not_, or_, select, text

from qcore_sql.compiled import Varied, insert_into
from qcore_sql.expressions import MARIADB, now, value
from qcore_sql.schema import MESSAGE, TASK_QUEUE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from qcore_sql.session import Session


class Stream(NamedTuple):
    """The messages of one queue of tasks and of one priority: first in, first out."""

    queue: str
    priority: int


#: the stream of who uses neither queues nor priorities
DEFAULT: Final = Stream("", 0)

_M = MESSAGE.c
_T = TASK_QUEUE.c
_OTHER = MESSAGE.alias("other").c
#: values of the default stream
NO_QUEUE: Final = literal(DEFAULT.queue, String())
NO_PRIORITY: Final = literal(DEFAULT.priority, Integer())
#: which rows of `MESSAGE` are of one stream
OF_DEFAULT: Final = and_(
    _M.queue == value("queue", _M.queue), _M.task_queue == NO_QUEUE, _M.priority == NO_PRIORITY
)
OF_STREAM: Final = and_(
    _M.queue == value("queue", _M.queue),
    _M.task_queue == value("task_queue", _M.task_queue),
    _M.priority == value("priority", _M.priority),
)


def _none(*conditions: Any) -> Any:  # noqa: ANN401 - an expression
    mine = _OTHER.queue == value("queue", _M.queue)
    return not_(exists(select(_OTHER.seq).where(mine, *conditions)))


#: Whether nobody has named a queue or a priority: one look, because it is asked by each lease.
UNUSED: Final = not_(exists(select(_T.queue).where(_T.queue == value("queue", _T.queue))))
#: The same, and whether messages say so too: rows may be gone after a server has failed.
ALONE: Final = and_(
    UNUSED,
    _none(_OTHER.task_queue > NO_QUEUE),
    _none(_OTHER.task_queue == NO_QUEUE, _OTHER.priority > NO_PRIORITY),
    _none(_OTHER.task_queue == NO_QUEUE, _OTHER.priority < NO_PRIORITY),
)
NAMES_PAUSED: Final = select(_T.task_queue).where(_T.queue == value("queue", _T.queue), _T.paused)

#: Each stream, with the seconds until its first message is due, and whether it is paused. Each step of the
#: recursion is a look at the index, whatever the number of messages.
_STEPS = """WITH RECURSIVE named (name) AS (
  SELECT (SELECT min(task_queue) FROM qcore_message WHERE queue = :queue)
  UNION ALL
  SELECT (SELECT min(task_queue) FROM qcore_message WHERE queue = :queue AND task_queue > named.name)
  FROM named WHERE named.name IS NOT NULL
), stream (name, number) AS (
  SELECT name, (SELECT max(priority) FROM qcore_message WHERE queue = :queue AND task_queue = named.name)
  FROM named WHERE name IS NOT NULL
  UNION ALL
  SELECT name, (SELECT max(priority) FROM qcore_message
    WHERE queue = :queue AND task_queue = stream.name AND priority < stream.number)
  FROM stream WHERE number IS NOT NULL
) SELECT name, number, (SELECT min(due) FROM qcore_message
    WHERE queue = :queue AND task_queue = stream.name AND priority = stream.number) - {now},
  (SELECT count(*) FROM qcore_task_queue
    WHERE queue = :queue AND task_queue = stream.name AND paused)
FROM stream WHERE number IS NOT NULL"""
ALL: Final = Varied(lambda dialect: text(_STEPS.format(now=now.text(dialect))))
#: One such step. In a recursion MariaDB and MySQL would read all entries of the index for it, and for
#: groups of entries too as long as the server has old statistics.
STEP: Final = (
    select(
        _M.task_queue,
        _M.priority,
        _M.due - now(),
        select(func.count())
        .select_from(TASK_QUEUE)
        .where(_T.queue == _M.queue, _T.task_queue == _M.task_queue, _T.paused)
        .correlate(MESSAGE)
        .scalar_subquery(),
    )
    .where(
        _M.queue == value("queue", _M.queue),
        or_(
            _M.task_queue > value("task_queue", _M.task_queue),
            and_(
                _M.task_queue == value("task_queue", _M.task_queue),
                _M.priority > value("priority", _M.priority),
            ),
        ),
    )
    .order_by(_M.task_queue, _M.priority, _M.due)
    .limit(1)
    .with_hint(MESSAGE, "FORCE INDEX (qcore_message_due)", "mysql")
)
#: before the first
_LOWEST: Final = -(2**31) - 1


_ROW: Final = {
    "queue": value("queue", _T.queue),
    "task_queue": value("task_queue", _T.task_queue),
    "paused": false(),
}


def _register(dialect: str) -> Any:  # noqa: ANN401 - an executable statement
    made = insert_into(TASK_QUEUE, dialect).values(_ROW)
    return made.prefix_with("IGNORE") if dialect in MARIADB else made.on_conflict_do_nothing()


REGISTER: Final = Varied(_register)
_NAMED: Final = select(_T.task_queue).where(_T.queue == value("queue", _T.queue))


def register(session: Session, queue: str, names: Collection[str]) -> None:
    """Have workers look for queues of these names, and for priorities, from the end of the transaction on.

    Nobody remembers that it was done, because a transaction may be rolled back. It is read first: an
    INSERT that does nothing would lock the row in MariaDB until a transaction of the program ends.
    """
    if names:
        known = {name for (name,) in session.rows(_NAMED, queue=queue)}
        for name in sorted(set(names) - known):
            session.run(REGISTER, queue=queue, task_queue=name)


class Found(NamedTuple):
    """A stream that has messages."""

    stream: Stream
    #: seconds until its first message can be leased; not above 0 = there is one
    wait: float
    #: whether nothing is leased from its queue
    paused: bool


def all_streams(session: Session, queue: str) -> list[Found]:
    """Return the streams that have messages, in no order."""
    if session.dialect in MARIADB:
        return list(_by_steps(session, queue))
    return [_found(row) for row in session.rows(ALL, queue=queue)]


def _by_steps(session: Session, queue: str) -> Iterator[Found]:
    last = Stream("", _LOWEST)
    while row := session.one(STEP, queue=queue, task_queue=last.queue, priority=last.priority):
        yield (found := _found(row))
        last = found.stream


def _found(row: Sequence[Any]) -> Found:
    name, priority, wait, paused = row
    return Found(Stream(name, priority), wait, paused > 0)


def paused(session: Session, queue: str) -> set[str]:
    """Return the queues of tasks from which nothing is leased."""
    return {name for (name,) in session.rows(NAMES_PAUSED, queue=queue)}


def leasable(session: Session, queue: str, order: Sequence[str] | None) -> list[Found]:
    """Return the streams that may be leased from, the first one first.

    Args:
        session: executes statements.
        queue: what they are a part of.
        order: queues of tasks; None = all, and then those of one priority are the first in turn.

    """
    found = [one for one in all_streams(session, queue) if not one.paused]
    if order is None:
        random.shuffle(found)
        return by_priority(found)
    ranks = {name: rank for rank, name in enumerate(order)}
    mine = by_priority(one for one in found if one.stream.queue in ranks)
    return sorted(mine, key=lambda one: ranks[one.stream.queue])


def by_priority(found: Iterable[Found]) -> list[Found]:
    """Return streams with the highest priority first."""
    return sorted(found, key=lambda one: -one.stream.priority)
