"""Decides what becomes of rows that qcore has not written."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from qcore_sqlite.leases import LAST_LEASED

if TYPE_CHECKING:
    import sqlite3

_log = logging.getLogger("qcore_sqlite")

# SQLite stores a value of any type in any column, and whoever can write to the file can put rows anywhere.
# Where a row of another type is only read, it is cast: to bytes, to a number. Below are the rows that would
# hold up others: leases that cover what they do not hold or never end, messages that are never due, and
# numbers that leave no room for the next one.

#: row numbers from here on would soon leave none for new rows
_LARGE: Final = 1 << 62
#: seconds; a lease that ends later than this is not one of ours
_LONGEST_LEASE: Final = 3650 * 86_400.0
#: numbers are smaller; texts, blobs and infinity are not
_NO_NUMBER: Final = "9e999"

_BAD_LEASE: Final = f"""typeof(last) <> 'integer' or typeof(token) <> 'integer' or last < first or first <= 0
    or typeof(until) not in ('real', 'integer') or until > :now + {_LONGEST_LEASE}
    or last > (select coalesce(max(seq), 0) from queue)"""  # noqa: S608 - no values in it
#: whether there is anything to set aside; each part looks at a few rows only
_FOUND: Final = f"""exists (select 1 from lease where {_BAD_LEASE})
    or exists (select 1 from returned where queue is null and at >= {_NO_NUMBER})
    or exists (select 1 from returned where queue is not null and at >= {_NO_NUMBER})
    or (select min(key) from returned) <= 0 or (select min(seq) from queue) <= 0
    or (select max(seq) from queue) >= {_LARGE}
    or (select min(id) from dead_letter) <= 0 or (select max(id) from dead_letter) >= {_LARGE}
    or exists (select 1 from sqlite_sequence where name = 'dead_letter' and seq >= {_LARGE})"""  # noqa: S608 - as above

#: rows that no lease covers, although the leases say that all rows up to the last one are leased
_LOST: Final = f"""from queue where (seq <= {LAST_LEASED} or seq <= 0 or seq >= {_LARGE})
    and not exists (select 1 from lease where seq between first and last)"""  # noqa: S608 - as above
_NEVER_DUE: Final = f"from returned where at >= {_NO_NUMBER}"


def found(connection: sqlite3.Connection, now: float) -> bool:
    """Return whether there are rows that would hold up messages."""
    return bool(connection.execute(f"select {_FOUND}", {"now": now}).fetchone()[0])


def set_aside(connection: sqlite3.Connection, now: float) -> None:
    """Take rows out of the way that would hold up messages; what was leased or lost is ready again."""
    if not found(connection, now):
        # Another process was faster.
        return
    leases = connection.execute(f"delete from lease where {_BAD_LEASE}", {"now": now}).rowcount  # noqa: S608 - as above
    _renumber(connection)
    lost = connection.execute(
        f"insert into returned (at, body) select ?, body {_LOST}",
        (now,),
    ).rowcount
    connection.execute(f"delete {_LOST}")
    letters = connection.execute(
        f"""insert into dead_letter (at, reason, failures, crashes, body, queue, priority)
        select ?, 'its row in the table `returned` is damaged: the time is not a number', 0, 0, body, queue,
        priority
        {_NEVER_DUE}""",
        (now,),
    ).rowcount
    connection.execute(f"delete {_NEVER_DUE}")
    _log.error(
        "rows that qcore has not written were set aside: lease=%d queue=%d returned=%d",
        leases,
        lost,
        letters,
    )


def _renumber(connection: sqlite3.Connection) -> None:
    """Give rows whose numbers are not ours the next ones of ours."""
    connection.execute(
        """insert into returned (at, token, deliveries, failures, crashes, body, queue, priority)
        select at, token, deliveries, failures, crashes, body, queue, priority from returned where key <= 0"""
    )
    connection.execute("delete from returned where key <= 0")
    connection.execute("delete from sqlite_sequence where name = 'dead_letter'")
    strange = connection.execute("select id from dead_letter where id <= 0 or id >= ?", (_LARGE,)).fetchall()
    for (id_,) in strange:
        connection.execute(
            """update dead_letter set id = (select max(0, coalesce(max(id), 0)) + 1 from dead_letter
            where id < ?) where id = ?""",
            (_LARGE, id_),
        )
