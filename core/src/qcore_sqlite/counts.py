"""Decides how messages are counted, purged and removed by id."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from qcore.model import ID_AT, KEY_ID_AT, QueueSize
from qcore_sqlite import leases, queues, streams
from qcore_sqlite.leases import LAST_LEASED

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

# not by counting rows, which would read the whole queue: ready rows have no gaps between them except
# those in `gap`, see the schema
_SIZE = f"""with ready as (select
    (select min(seq) from queue where seq > {LAST_LEASED}) as first,
    (select max(seq) from queue) as last)
    select
    (select coalesce(last + 1 - first, 0) from ready)
    - (select count(*) from gap, ready where seq between first and last
    and not exists (select 1 from queue where queue.seq = gap.seq)),
    (select count(*) from lease join queue on seq between first and last where until > :now),
    (select count(*) from lease join queue on seq between first and last where until <= :now)
    + (select count(*) from returned where queue is null and at <= :now)
    + (select count(*) from returned where queue is not null and at <= :now),
    (select count(*) from returned where queue is null and at > :now and token is not null)
    + (select count(*) from returned where queue is not null and at > :now and token is not null),
    (select count(*) from returned where queue is null and at > :now and token is null)
    + (select count(*) from returned where queue is not null and at > :now and token is null),
    (select count(*) from dead_letter)"""  # noqa: S608 - no values in it

_ID: Final = f"substr(cast(body as blob), {ID_AT.start + 1}, {ID_AT.stop - ID_AT.start})"
_ALL_IDS = f"""select {_ID} from queue union all select {_ID} from returned
    union all select {_ID} from dead_letter"""  # noqa: S608 - as above
_MORE_THAN = """select 1 from (select 1 from queue union all select 1 from returned
    union all select 1 from dead_letter) limit 1 offset ?"""
_READY_IDS = f"select seq, {_ID} from queue where seq > {LAST_LEASED}"  # noqa: S608 - as above
_RETURNED_IDS = f"select key, {_ID} from returned where token is null or at <= ?"  # noqa: S608 - as above
# checked again, because another process may have leased the message and reused its number
_READY = f"select cast(body as blob) from queue where seq = ? and {_ID} = ? and seq > {LAST_LEASED}"  # noqa: S608 - as above
_RETURNED = (
    f"select cast(body as blob) from returned where key = ? and {_ID} = ? and (token is null or at <= ?)"  # noqa: S608 - as above
)
_OUTDATED_GAPS = f"""delete from gap where exists (select 1 from queue where queue.seq = gap.seq)
    or seq > (select coalesce(max(seq), 0) from queue)
    or seq < (select coalesce(min(seq), 0) from queue where seq > {LAST_LEASED})"""  # noqa: S608 - as above


#: Messages among which one is looked for by its id; more than these are not read for one answer.
MAX_SEARCHED: Final = 100_000


class Found(NamedTuple):
    """A message that was not leased when it was found."""

    id: bytes
    #: `seq` of `queue` if `fresh`, else `key` of `returned`
    row: int
    fresh: bool


def size(connection: sqlite3.Connection) -> QueueSize:
    """Count the messages by state."""
    ready, leased, returned, leased_again, delayed, dead_letters = connection.execute(
        _SIZE, {"now": time.time()}
    ).fetchone()
    return QueueSize(
        ready=ready + returned, leased=leased + leased_again, delayed=delayed, dead_letters=dead_letters
    )


def first(connection: sqlite3.Connection) -> bytes | None:
    """Return the body of the ready message that was enqueued first."""
    return queues.oldest(connection, streams.names(connection))


def purge(connection: sqlite3.Connection) -> int:
    """Remove ready and delayed messages; return how many."""
    now = time.time()
    leases.expire(connection, now)
    returned = connection.execute("delete from returned where token is null or at <= ?", (now,)).rowcount
    return returned + queues.delete_fresh(connection)


def clear(connection: sqlite3.Connection) -> int:
    """Remove every message and every status; return how many messages there were."""
    found = size(connection)
    for table in ("queue", "lease", "gap", "returned", "dead_letter", "status"):
        connection.execute(f"delete from {table}")  # noqa: S608 - our own names
    return found.ready + (found.leased or 0) + (found.delayed or 0) + (found.dead_letters or 0)


def find(connection: sqlite3.Connection, ids: Collection[bytes]) -> list[Found]:
    """Find messages by id in the whole queue; it takes no write lock, so it blocks no other process."""
    wanted = frozenset(ids)
    fresh = connection.execute(_READY_IDS)
    found = [Found(id_, row, fresh=True) for row, id_ in fresh if id_ in wanted]
    returned = connection.execute(_RETURNED_IDS, (time.time(),))
    return found + [Found(id_, row, fresh=False) for row, id_ in returned if id_ in wanted]


def present(connection: sqlite3.Connection, ids: Collection[bytes]) -> list[bytes] | None:
    """Return the ids that messages in any state bear, None if there are too many messages."""
    if connection.execute(_MORE_THAN, (MAX_SEARCHED,)).fetchone():
        return None
    wanted = frozenset(ids)
    return [id_ for id_ in {one for (one,) in connection.execute(_ALL_IDS)} if id_ in wanted]


def remove_messages(connection: sqlite3.Connection, found: Collection[Found]) -> list[bytes]:
    """Remove the messages that are still not leased; return their bodies."""
    now = time.time()
    bodies = []
    for id_, row, fresh in found:
        query, values = (_READY, (row, id_)) if fresh else (_RETURNED, (row, id_, now))
        for (body,) in connection.execute(query, values).fetchall():
            bodies.append(body)
            if fresh:
                connection.execute("delete from queue where seq = ?", (row,))
                connection.execute("insert or ignore into gap (seq) values (?)", (row,))
            else:
                connection.execute("delete from returned where key = ?", (row,))
    connection.execute(_OUTDATED_GAPS)
    return bodies


def key_ids(connection: sqlite3.Connection) -> dict[bytes, int]:
    """Count the messages of `queue` and `returned` by the key that signed them."""
    start, size = KEY_ID_AT.start + 1, KEY_ID_AT.stop - KEY_ID_AT.start
    every = "select body from queue union all select body from returned"
    query = f"select substr(body, {start}, {size}) as key, count(*) from ({every}) group by key"  # noqa: S608 - constants of ours
    return dict(connection.execute(query).fetchall())
