"""Decides which tables the file has and whether it is ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.errors import BackendRejected

if TYPE_CHECKING:
    import sqlite3

#: "Qcor" in ASCII; written to the file's header, to distinguish our database from another program's
APPLICATION_ID = 0x51636F72

#: increased whenever the tables change
VERSION = 7
#: versions whose tables lack some of these; such a file is completed by whoever opens it first
_OLDER = (5, 6)
#: the one of them that lacks the queue's name, too
_NAMELESS = 5

#: queues that are paused
_QUEUE_STATE = (
    "create table queue_state (name text primary key, paused integer not null default 0) without rowid"
)
#: rows of the default queue and priority have no name of a queue, and are in no index of the others
_INDEXES = (
    "create index returned_at on returned (at) where queue is null",
    "create index returned_due on returned (at) where queue is not null",
    "create index returned_queue on returned (queue, priority, at, key) where queue is not null",
)

#: A message is stored in `queue` until its first lease ends. A lease is a range of rows of `queue`, stored
#: in `lease`. The messages themselves are not written again before they are deleted, so a task that
#: succeeds at once costs one insert and one delete. Messages that have a delay or were leased before are
#: stored in `returned`, with their counters, and so are those of other queues or priorities than the default.
#:
#: Two invariants make this fast. (1) Every row of `queue` up to the highest `lease.last` belongs to a
#: lease. The rows above it are ready; no number is missing between them except those in `gap`. (2) The
#: row `lease.last` exists, because SQLite reuses the highest `seq` once it is deleted.
TABLES = (
    "create table queue (seq integer primary key, body blob not null)",
    """create table lease (first integer primary key, last integer not null, token integer not null,
    until real not null)""",
    # numbers of ready messages that were removed; one that is in `queue` as well was reused
    "create table gap (seq integer primary key)",
    # `at` is when the message may be leased: the end of its delay, or of its lease if it has a token
    """create table returned (key integer primary key, at real not null, token integer,
    deliveries integer not null default 0, failures integer not null default 0,
    crashes integer not null default 0, body blob not null, queue text,
    priority integer not null default 0)""",
    *_INDEXES,
    "create index returned_token on returned (token) where token is not null",
    # autoincrement, so that the id of a dead letter is never reused
    """create table dead_letter (id integer primary key autoincrement, at real not null,
    reason text not null, failures integer not null, crashes integer not null, body blob not null,
    queue text, priority integer not null default 0)""",
    _QUEUE_STATE,
    # ids of acknowledged messages, see qcore_sqlite.ended; `upto` counts them from the start, `high` is
    # the highest of them so far
    """create table ended (seq integer primary key, bucket blob not null, at real not null,
    upto integer not null, high blob not null, ids blob not null)""",
    "create index ended_bucket on ended (bucket)",
    "create table status (cluster text primary key, expires real not null, body blob not null) without rowid",
    # with a rowid, because without one a row larger than a quarter of a page would take extra pages
    """create table result (id blob primary key not null, state integer not null, finished real not null,
    expires real not null, name text not null, grp text, label text, body blob not null)""",
    "create index result_state on result (state, finished)",
    "create index result_group on result (grp, finished) where grp is not null",
    "create index result_expires on result (expires) where expires > 0",
    """create table schedule (name text primary key, body blob not null, next_run real not null,
    active integer not null, claimed_until real not null default 0) without rowid""",
    # the coordination store, see qcore.coordination; `until` and `at` are epoch seconds
    "create table flag (key text primary key, until real not null, value blob not null) without rowid",
    "create index flag_until on flag (until)",
    # `number` is the order in which the holders of one key acquired their permits
    """create table permit (key text not null, holder blob not null, number integer not null,
    until real not null, primary key (key, holder)) without rowid""",
    # the latest rate slot of each key, and the slots that were assigned and have not come yet
    "create table rate (key text primary key, at real not null, until real not null) without rowid",
    """create table rate_slot (key text not null, holder blob not null, at real not null,
    primary key (key, holder)) without rowid""",
    # `count` saves counting the members whenever one joins
    """create table barrier (id integer primary key, key text not null unique,
    count integer not null, until real not null)""",
    "create index barrier_until on barrier (until)",
    """create table barrier_member (barrier integer not null, member integer not null, body blob not null,
    primary key (barrier, member))""",
)
#: what a file of an older version lacks
_COMPLETING = (
    "alter table returned add column queue text",
    "alter table returned add column priority integer not null default 0",
    "alter table dead_letter add column queue text",
    "alter table dead_letter add column priority integer not null default 0",
    "drop index returned_at",
    *_INDEXES,
    _QUEUE_STATE,
)
#: one row: the queue that the file holds
_QUEUE_NAME = "create table queue_name (name text not null)"
_CLAIM_NAME = "insert into queue_name select ? where not exists (select 1 from queue_name)"


def exists(connection: sqlite3.Connection) -> bool:
    """Return whether the file has tables, if only those of an older version."""
    return bool(connection.execute("pragma application_id").fetchone()[0])


def is_ready(connection: sqlite3.Connection, path: str, name: str) -> bool:
    """Return whether the tables exist; False for a file that `create` must be called for.

    Args:
        connection: the open file.
        path: the file.
        name: the queue that it must hold.

    Raises:
        BackendRejected: the database belongs to another program, version of qcore or queue.
    """
    application = connection.execute("pragma application_id").fetchone()[0]
    version = connection.execute("pragma user_version").fetchone()[0]
    if application == APPLICATION_ID and version == VERSION:
        return _is_named(connection, path, name)
    if application == APPLICATION_ID and version in _OLDER:
        if version != _NAMELESS:
            _is_named(connection, path, name)
        return False
    if application == APPLICATION_ID:
        remedy = "upgrade qcore" if version > VERSION else "let that version of qcore finish what is queued"
        msg = (
            f"{path} was written by another version of qcore: its tables have version {version},"
            f" this one needs {VERSION}; {remedy}, or set `sqlite.path` to another file"
        )
        raise BackendRejected(msg)
    if application or version or connection.execute("select count(*) from sqlite_master").fetchone()[0]:
        msg = f"{path} is the database of another program; set `sqlite.path` to another file"
        raise BackendRejected(msg)
    return False


def create(connection: sqlite3.Connection, path: str, name: str, *, claim: bool) -> None:
    """Create the tables unless another process did; call it inside a write transaction.

    Args:
        connection: the open file.
        path: the file.
        name: the queue that it must hold.
        claim: whether a file that holds no queue by name holds this one from now on.

    """
    if is_ready(connection, path, name):
        return
    version = connection.execute("pragma user_version").fetchone()[0]
    for statement in TABLES if not version else _COMPLETING if version in _OLDER else ():
        connection.execute(statement)
    if version in (0, _NAMELESS):
        connection.execute(_QUEUE_NAME)
    if claim:
        connection.execute(_CLAIM_NAME, (name,))
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    connection.execute(f"pragma user_version = {VERSION}")


def _is_named(connection: sqlite3.Connection, path: str, name: str) -> bool:
    """Return whether the file holds this queue; False if nobody has said which it holds."""
    (found,) = connection.execute("select min(name) from queue_name").fetchone()
    if found not in (name, None):
        msg = (
            f"{path} holds the queue {found!r}, and this program's is {name!r}: one file holds one queue,"
            f" and the workers of either would dead-letter the other's tasks; set `name` to {found!r} to use"
            f" that queue, or `sqlite.path` to another file for {name!r}"
        )
        raise BackendRejected(msg)
    return found is not None
