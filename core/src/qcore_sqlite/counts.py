"""Decides how messages are counted, purged and taken back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from qcore.model import ID_AT, QueueSize
from qcore_sqlite import leases
from qcore_sqlite.leases import HEAD

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

# ready rows have no gaps but the holes, see the schema: counting them would read the whole queue
_SIZE = f"""with ready as (
    select (select min(seq) from queue where seq > {HEAD}) as first, (select max(seq) from queue) as last)
    select
    (select coalesce(last + 1 - first, 0) from ready)
    - (select count(*) from hole, ready where seq between first and last
    and not exists (select 1 from queue where queue.seq = hole.seq)),
    (select count(*) from lease join queue on seq between first and last where until > :now),
    (select count(*) from lease join queue on seq between first and last where until <= :now)
    + (select count(*) from back where at <= :now),
    (select count(*) from back where at > :now and token is not null),
    (select count(*) from back where at > :now and token is null),
    (select count(*) from buried)"""  # noqa: S608 - no values in it

_ID: Final = f"substr(body, {ID_AT.start + 1}, {ID_AT.stop - ID_AT.start})"
_READY_IDS = f"select seq, {_ID} from queue where seq > {HEAD}"  # noqa: S608 - as above
_RETURNED_IDS = f"select key, {_ID} from back where token is null or at <= ?"  # noqa: S608 - as above
# looked at again: since it was found another process may have leased it and given its number away
_READY = f"select body from queue where seq = ? and {_ID} = ? and seq > {HEAD}"  # noqa: S608 - as above
_RETURNED = f"select body from back where key = ? and {_ID} = ? and (token is null or at <= ?)"  # noqa: S608 - as above
_FILLED = f"""delete from hole where exists (select 1 from queue where queue.seq = hole.seq)
    or seq > (select coalesce(max(seq), 0) from queue)
    or seq < (select coalesce(min(seq), 0) from queue where seq > {HEAD})"""  # noqa: S608 - as above


class Found(NamedTuple):
    """A message that was not leased when it was looked for."""

    id: bytes
    #: `seq` of `queue`, or `key` of `back`
    row: int
    fresh: bool


def size(connection: sqlite3.Connection) -> QueueSize:
    """Count the messages by state."""
    ready, taken, back, retaken, delayed, dead_letters = connection.execute(
        _SIZE, {"now": time.time()}
    ).fetchone()
    return QueueSize(ready=ready + back, leased=taken + retaken, delayed=delayed, dead_letters=dead_letters)


def purge(connection: sqlite3.Connection) -> int:
    """Remove what is ready or delayed; return how many."""
    now = time.time()
    leases.expire(connection, now)
    fresh = connection.execute(f"delete from queue where seq > {HEAD}").rowcount  # noqa: S608 - no values in it
    returned = connection.execute("delete from back where token is null or at <= ?", (now,)).rowcount
    connection.execute("delete from hole")
    return fresh + returned


def find(connection: sqlite3.Connection, ids: Collection[bytes]) -> list[Found]:
    """Look the whole queue through, which blocks nobody: the lock for writing is not needed."""
    wanted = frozenset(ids)
    fresh = connection.execute(_READY_IDS)
    found = [Found(id_, row, fresh=True) for row, id_ in fresh if id_ in wanted]
    returned = connection.execute(_RETURNED_IDS, (time.time(),))
    return found + [Found(id_, row, fresh=False) for row, id_ in returned if id_ in wanted]


def remove_messages(connection: sqlite3.Connection, found: Collection[Found]) -> list[bytes]:
    """Remove what was found and is still not leased; return the bodies."""
    now = time.time()
    bodies = []
    for id_, row, fresh in found:
        query, values = (_READY, (row, id_)) if fresh else (_RETURNED, (row, id_, now))
        for (body,) in connection.execute(query, values).fetchall():
            bodies.append(body)
            if fresh:
                connection.execute("delete from queue where seq = ?", (row,))
                connection.execute("insert or ignore into hole (seq) values (?)", (row,))
            else:
                connection.execute("delete from back where key = ?", (row,))
    connection.execute(_FILLED)
    return bodies
