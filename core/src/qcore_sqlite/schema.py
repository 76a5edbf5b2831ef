"""Decides what the tables look like and whose file it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.errors import BackendRejected

if TYPE_CHECKING:
    import sqlite3

#: "Qcor" in ASCII; stands in the file's header, so that no other program's database is taken for ours
APPLICATION_ID = 0x51636F72

#: raised by one whenever the tables change
VERSION = 3

#: A message waits in `queue` until its first lease. A lease is a range of `queue` in `lease`: the
#: messages themselves are not touched again before they are deleted, so the happy path writes each of
#: them once and removes it once. What has a delay or came back lives in `back`, with its counters.
#:
#: Two things always hold, and all that is fast here rests on them. Every row of `queue` up to the
#: highest `lease.last` belongs to a lease; those above it are ready, without gaps between them but for
#: the numbers in `hole`. The row `lease.last` exists, because SQLite gives a deleted highest `seq` out a
#: second time.
TABLES = (
    "create table queue (seq integer primary key, body blob not null)",
    """create table lease (first integer primary key, last integer not null, token integer not null,
    until real not null)""",
    # ready messages that were withdrawn; a number that is in `queue` as well was given out again
    "create table hole (seq integer primary key)",
    # `at` is when it may be leased: the end of its delay, or of its lease while it has a token
    """create table back (key integer primary key, at real not null, token integer,
    deliveries integer not null default 0, failures integer not null default 0,
    crashes integer not null default 0, body blob not null)""",
    "create index back_at on back (at)",
    "create index back_token on back (token) where token is not null",
    # autoincrement: an id that was listed is never another message later
    """create table buried (id integer primary key autoincrement, at real not null,
    reason text not null, failures integer not null, crashes integer not null, body blob not null)""",
    "create table status (cluster text primary key, expires real not null, body blob not null) without rowid",
    # with a rowid: a row beyond a quarter of a page would take pages of its own without one
    """create table result (id blob primary key not null, state integer not null, finished real not null,
    expires real not null, name text not null, grp text, label text, body blob not null)""",
    "create index result_state on result (state, finished)",
    "create index result_group on result (grp, finished) where grp is not null",
    "create index result_expires on result (expires) where expires > 0",
    """create table schedule (name text primary key, task text not null, body blob not null,
    rule text not null, time_zone text not null, next_run real not null, anchor real not null,
    repeats integer not null, kept integer not null, catch_up integer, overlap text not null,
    jitter real not null, cluster text not null, declared text not null, fault text not null,
    held real not null default 0) without rowid""",
    # notes, see qcore.coordination; `until` and `at` are epoch seconds
    "create table mark (key text primary key, until real not null, value blob not null) without rowid",
    "create index mark_until on mark (until)",
    # `came` is the order in which the holders of one key took their places
    """create table place (key text not null, holder blob not null, came integer not null,
    until real not null, primary key (key, holder)) without rowid""",
    # the latest turn of each key, and those that were told and are still to come
    "create table rate (key text primary key, at real not null, until real not null) without rowid",
    """create table turn (key text not null, holder blob not null, at real not null,
    primary key (key, holder)) without rowid""",
    # `count` spares counting the members at each arrival
    """create table gathering (number integer primary key, key text not null unique,
    count integer not null, until real not null)""",
    "create index gathering_until on gathering (until)",
    """create table member (gathering integer not null, place integer not null, body blob not null,
    primary key (gathering, place))""",
)


def is_ready(connection: sqlite3.Connection, path: str) -> bool:
    """Return whether the tables are there, False for an empty file.

    Raises:
        BackendRejected: it is another program's database, or one of a newer qcore.
    """
    application = connection.execute("pragma application_id").fetchone()[0]
    version = connection.execute("pragma user_version").fetchone()[0]
    if application == APPLICATION_ID and version == VERSION:
        return True
    if application == APPLICATION_ID:
        remedy = "upgrade qcore" if version > VERSION else "let the qcore that wrote it finish what is queued"
        msg = (
            f"{path} was written by another version of qcore: its tables are of version {version},"
            f" this one knows {VERSION}; {remedy}, or give `sqlite.path` another file"
        )
        raise BackendRejected(msg)
    if application or version or connection.execute("select count(*) from sqlite_master").fetchone()[0]:
        msg = f"{path} is the database of another program; give `sqlite.path` a file of its own"
        raise BackendRejected(msg)
    return False


def create(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables, unless another process was faster; to be called inside a transaction."""
    if is_ready(connection, path):
        return
    for statement in TABLES:
        connection.execute(statement)
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    connection.execute(f"pragma user_version = {VERSION}")
