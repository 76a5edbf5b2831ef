"""Decides what is done with one queue of several."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from qcore.interfaces import QueueState, Waiting
from qcore.model import ID_AT, QueueSize
from qcore_sqlite import leases
from qcore_sqlite.leases import LAST_LEASED
from qcore_sqlite.streams import DEFAULT, Stream, by_priority, names, paused, priorities

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

_FREE: Final = "(token is null or at <= :now)"
#: rows of `returned` that are of a queue, `:queue` is its name
_OF_QUEUE: Final = "(queue = :queue or (queue is null and :queue = ''))"
_COUNTS: Final = "sum(at <= :now), sum(at > :now and token is not null), sum(at > :now and token is null)"
#: all queues in one pass, which is in the order of an index
_COUNTED: Final = f"""select queue, {_COUNTS} from returned where queue is not null group by queue
    union all select '', {_COUNTS} from returned where queue is null"""  # noqa: S608 - no values in it
_FRESH: Final = f"""select (select count(*) from queue where seq > {LAST_LEASED}),
    (select count(*) from lease join queue on seq between first and last where until > :now),
    (select count(*) from lease join queue on seq between first and last where until <= :now)"""  # noqa: S608 - as above
_FRESH_BODIES: Final = (
    f"select cast(body as blob) from queue where seq > {LAST_LEASED} order by seq limit :limit"  # noqa: S608 - as above
)
_OF_DEFAULT: Final = "queue is null"
_OF_STREAM: Final = "queue = :queue and priority = :priority"
_BODIES: Final = "select cast(body as blob), at from returned where {} order by at, key limit :limit"
_PURGE: Final = f"delete from returned where {_OF_QUEUE} and {_FREE}"  # noqa: S608 - as above
_MOVE_FRESH: Final = f"""insert into returned (at, queue, priority, body)
    select :now, :target, 0, body from queue where seq > {LAST_LEASED} order by seq"""  # noqa: S608 - as above
_MOVE: Final = f"""update returned set
    queue = case when :target = '' and priority = 0 then null else :target end
    where {_OF_QUEUE} and {_FREE}"""  # noqa: S608 - as above


def listed(connection: sqlite3.Connection) -> list[QueueState]:
    """Return the queues that have messages or are paused, and the default one."""
    closed = paused(connection)
    sizes = _sizes(connection)
    return [
        QueueState(name, sizes.get(name, QueueSize(0, 0, 0)), name in closed, oldest(connection, [name]))
        for name in sorted({*sizes, *closed})
    ]


def pause(connection: sqlite3.Connection, queue: str, paused: bool) -> None:  # noqa: FBT001 - passed on by position
    """Pause a queue, or resume it."""
    if paused:
        connection.execute("insert or replace into queue_state (name, paused) values (?, 1)", (queue,))
    else:
        connection.execute("delete from queue_state where name = ?", (queue,))


def purge(connection: sqlite3.Connection, queue: str) -> int:
    """Remove the messages of a queue that are not leased; return how many."""
    now = time.time()
    leases.expire(connection, now)
    removed = connection.execute(_PURGE, {"queue": queue, "now": now}).rowcount
    return removed if queue else removed + delete_fresh(connection)


def move(connection: sqlite3.Connection, source: str, target: str) -> int:
    """Put the messages of a queue that are not leased into another; return how many."""
    if source == target:
        return 0
    now = time.time()
    leases.expire(connection, now)
    values = {"queue": source, "target": target, "now": now}
    moved = connection.execute(_MOVE, values).rowcount
    if not source:
        connection.execute(_MOVE_FRESH, values)
        moved += delete_fresh(connection)
    return moved


def waiting(connection: sqlite3.Connection, limit: int, queue: str | None) -> list[Waiting]:
    """Return messages that are not leased, those that are leased first in front."""
    now = time.time()
    streams = _streams(connection, names(connection) if queue is None else [queue])
    found: list[Waiting] = []
    for ready in (True, False):
        for stream in streams:
            found += _waiting(connection, stream, limit - len(found), now, ready=ready)
            if len(found) >= limit:
                return found
    return found


def oldest(connection: sqlite3.Connection, queues: list[str]) -> bytes | None:
    """Return the body of the ready message that was enqueued first, by the first of each stream."""
    now = time.time()
    first = [
        one.body
        for stream in _streams(connection, queues)
        for one in _waiting(connection, stream, 1, now, ready=True)
    ]
    return min(first, key=lambda body: bytes(body[ID_AT]), default=None)


def delete_fresh(connection: sqlite3.Connection) -> int:
    """Remove the messages of the table `queue` that are not leased; return how many."""
    removed = connection.execute(f"delete from queue where seq > {LAST_LEASED}").rowcount  # noqa: S608 - as above
    connection.execute("delete from gap")
    return removed


def _sizes(connection: sqlite3.Connection) -> dict[str, QueueSize]:
    """Count the messages of each queue that has any, and of the default one."""
    values = {"now": time.time()}
    fresh, held, expired = connection.execute(_FRESH, values).fetchone()
    found: dict[str, list[int]] = {"": [fresh + expired, held, 0]}
    for name, *counted in connection.execute(_COUNTED, values):
        if isinstance(name, str):
            before = found.get(name, (0, 0, 0))
            found[name] = [one + (more or 0) for one, more in zip(before, counted, strict=True)]
    return {name: QueueSize(*counts) for name, counts in found.items()}


def _streams(connection: sqlite3.Connection, queues: list[str]) -> list[Stream]:
    found = [Stream(queue, priority) for queue in queues for priority in priorities(connection, queue)]
    return sorted(found, key=by_priority)


def _waiting(
    connection: sqlite3.Connection, stream: Stream, limit: int, now: float, *, ready: bool
) -> Iterator[Waiting]:
    """Yield messages of a stream; those that came back are leased before fresh ones."""
    which = _OF_DEFAULT if stream == DEFAULT else _OF_STREAM
    state = "at <= :now" if ready else "at > :now and token is null"
    values = {**stream._asdict(), "now": now, "limit": limit}
    rows = connection.execute(_BODIES.format(f"{which} and {state}"), values).fetchall()
    for body, at in rows:
        yield Waiting(body, stream.queue, stream.priority, 0.0 if ready else at - now)
    if ready and stream == DEFAULT:
        for (body,) in connection.execute(_FRESH_BODIES, {"limit": limit - len(rows)}):
            yield Waiting(body)
