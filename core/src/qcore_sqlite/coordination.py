"""Decides how flags, permits, rate slots and barriers are stored in tables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from qcore.coordination import CoordinationStore
from qcore_sqlite.database import Database
from qcore_sqlite.results import SqliteResults

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from qcore.coordination import BarrierMember
    from qcore.interfaces import Settings

#: seconds for which a rate slot is kept for a holder that does not ask again
SLOT_TTL: Final = 86400.0
#: seconds; no rate slot is assigned so far ahead, and what is not a number sorts behind it
_LAST_SLOT: Final = 3650 * 86400.0
#: expired rows deleted in one transaction, so that workers can write in between
SWEEP_BATCH: Final = 5000
#: expired barriers deleted in one transaction; each may have thousands of members
BARRIER_BATCH: Final = 20

_SET_FLAG = "insert or replace into flag (key, until, value) values (?, ?, ?)"
_CLEAR_FLAG = "delete from flag where key = ?"
_GET_FLAG = "select cast(value as blob) from flag where key = ? and until > ?"

# a time that is not a number, or infinity, would hold a permit for ever
_EXPIRE_PERMITS = "delete from permit where key = ? and (until <= ? or until >= 9e999)"
_EXTEND_PERMIT = "update permit set until = ? where key = ? and holder = ?"
_COUNT_PERMITS = f"""select count(*), min(coalesce(max(cast(number as integer)), 0), {1 << 62})
    from permit where key = ?"""  # noqa: S608 - a constant
_FIRST_HOLDER = "select cast(holder as blob) from permit where key = ? order by number limit 1"
_ADD_PERMIT = "insert into permit (key, holder, number, until) values (?, ?, ?, ?)"
_RELEASE = "delete from permit where key = ? and holder = ?"

_GET_SLOT = "select at from rate_slot where key = ? and holder = ? and at > ? and at < ?"
_DELETE_SLOT = "delete from rate_slot where key = ? and holder = ?"
_ADD_SLOT = "insert or replace into rate_slot (key, holder, at) values (?, ?, ?)"
_GET_LATEST_SLOT = "select at from rate where key = ? and at < ?"
_SET_LATEST_SLOT = "insert or replace into rate (key, at, until) values (?, ?, ?)"

_GET_BARRIER = f"""select id, min(max(cast(count as integer), 0), {1 << 32}), cast(until as real)
    from barrier where key = ?"""  # noqa: S608 - a constant
_ADD_BARRIER = "insert into barrier (key, count, until) values (?, 0, ?)"
_ADD_MEMBER = "insert or ignore into barrier_member (barrier, member, body) values (?, ?, ?)"
_SET_MEMBER_COUNT = "update barrier set count = ?, until = ? where id = ?"
_GET_MEMBERS = """select member, cast(body as blob) from barrier_member join barrier on barrier = id
    where key = ? and until > ? and typeof(member) = 'integer' order by member"""
_DELETE_MEMBERS = "delete from barrier_member where barrier = ?"
_DELETE_BARRIER = "delete from barrier where id = ?"

#: for each table a search for expired rows, and the same as a deletion
_EXPIRED: Final = tuple(
    (
        f"select 1 from {table} where {expired} limit ?",  # noqa: S608 - constants
        f"delete from {table} where ({key}) in (select {key} from {table} where {expired} limit ?)",  # noqa: S608 - as above
    )
    for table, key, expired in (
        ("flag", "key", "until <= ?"),
        ("permit", "key, holder", "until <= ?"),
        ("rate_slot", "key, holder", f"at + {SLOT_TTL} <= ?"),
        ("rate", "key", "until <= ?"),
    )
)
_EXPIRED_BARRIERS = "select id from barrier where until <= ? limit ?"


def make_coordination(settings: Settings) -> SqliteCoordination:
    """Open the coordination store named by the settings, by the results' connection if there is one."""
    beside = settings.beside
    return SqliteCoordination(beside.database if isinstance(beside, SqliteResults) else Database(settings))


class SqliteCoordination(CoordinationStore):
    """The coordination store in the queue's file; each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def after_fork(self, owner: bytes) -> bool:
        """Open the file anew."""
        del owner
        self._database.begin_anew()
        return True

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Store a value for `ttl` seconds; b"" deletes it."""
        if value:
            self._database.insert(_SET_FLAG, (key, time.time() + ttl, value))
        else:
            self._database.insert(_CLEAR_FLAG, (key,))

    def set_flags(self, flags: Mapping[str, bytes], ttl: float) -> None:
        """Store values for `ttl` seconds in one transaction; b"" deletes one."""
        if flags:
            self._database.write(_set_flags, flags, ttl)

    def get_flags(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return values in the order of `keys`."""
        return self._database.read(_get_flags, keys)

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Acquire a permit for `ttl` seconds; return None, or the first holder if all are taken."""
        return self._database.write(_acquire, key, holder, limit, ttl)

    def release(self, permits: Sequence[tuple[str, bytes]]) -> None:
        """Release permits, given as (key, holder)."""
        if permits:
            self._database.write(_run, _RELEASE, permits)

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Return the seconds until the holder's rate slot; 0 if it may start now."""
        return self._database.write(_reserve, key, holder, interval, burst)

    def join_barrier(self, members: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Add members to barriers; return the number of members after each."""
        return self._database.write(_join_barrier, members, ttl) if members else ()

    def barrier_members(self, key: str) -> Mapping[int, bytes]:
        """Return the bodies of a barrier's members by index."""
        return self._database.read(_get_members, key)

    def delete_barriers(self, keys: Sequence[str]) -> None:
        """Delete barriers with their members."""
        if keys:
            self._database.write(_delete_barriers, keys)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def clear(self) -> bool:
        """Remove everything in one transaction."""
        self._database.write(_clear)
        return True

    def prune(self) -> None:
        """Delete expired rows, `SWEEP_BATCH` in one transaction."""
        for search, removal in _EXPIRED:
            while self._database.read(_select, search, (time.time(), 1)):
                self._database.write(_run, removal, [(time.time(), SWEEP_BATCH)])
        while self._database.read(_select, _EXPIRED_BARRIERS, (time.time(), 1)):
            self._database.write(_sweep_barriers, time.time())


def _clear(connection: sqlite3.Connection) -> None:
    for table in ("flag", "permit", "rate", "rate_slot", "barrier", "barrier_member"):
        connection.execute(f"delete from {table}")  # noqa: S608 - our own names


def _select(
    connection: sqlite3.Connection, selection: str, values: tuple[object, ...]
) -> list[tuple[object, ...]]:
    return connection.execute(selection, values).fetchall()


def _run(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    connection.executemany(statement, rows)


def _set_flags(connection: sqlite3.Connection, flags: Mapping[str, bytes], ttl: float) -> None:
    until = time.time() + ttl
    _run(connection, _SET_FLAG, [(key, until, value) for key, value in flags.items() if value])
    _run(connection, _CLEAR_FLAG, [(key,) for key, value in flags.items() if not value])


def _get_flags(connection: sqlite3.Connection, keys: Sequence[str]) -> list[bytes | None]:
    now = time.time()
    rows = [connection.execute(_GET_FLAG, (key, now)).fetchone() for key in keys]
    return [None if row is None else row[0] for row in rows]


def _acquire(connection: sqlite3.Connection, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
    now = time.time()
    connection.execute(_EXPIRE_PERMITS, (key, now))
    if connection.execute(_EXTEND_PERMIT, (now + ttl, key, holder)).rowcount:
        return None
    taken, latest = connection.execute(_COUNT_PERMITS, (key,)).fetchone()
    if taken >= limit:
        found = connection.execute(_FIRST_HOLDER, (key,)).fetchone()
        return b"" if found is None else bytes(found[0])
    connection.execute(_ADD_PERMIT, (key, holder, latest + 1, now + ttl))
    return None


def _reserve(connection: sqlite3.Connection, key: str, holder: bytes, interval: float, burst: int) -> float:
    now = time.time()
    latest_possible = now + _LAST_SLOT
    known = connection.execute(_GET_SLOT, (key, holder, now - SLOT_TTL, latest_possible)).fetchone()
    if known is not None:
        if known[0] <= now:
            connection.execute(_DELETE_SLOT, (key, holder))
        return max(0.0, float(known[0]) - now)
    latest = connection.execute(_GET_LATEST_SLOT, (key, latest_possible)).fetchone()
    # while the whole burst is unused, all its slots except the last are in the past
    at = now - (burst - 1) * interval
    if latest is not None:
        at = max(at, latest[0] + interval)
    connection.execute(_SET_LATEST_SLOT, (key, at, at + burst * interval))
    if at <= now:
        return 0.0
    connection.execute(_ADD_SLOT, (key, holder, at))
    return at - now


def _join_barrier(connection: sqlite3.Connection, members: Sequence[BarrierMember], ttl: float) -> list[int]:
    now = time.time()
    #: barrier key -> its id and number of members
    known: dict[str, tuple[int, int]] = {}
    counts = []
    for member in members:
        barrier, count = known.get(member.key) or _get_or_add_barrier(connection, member.key, now)
        count += connection.execute(_ADD_MEMBER, (barrier, member.index, member.body)).rowcount
        known[member.key] = (barrier, count)
        counts.append(count)
    connection.executemany(
        _SET_MEMBER_COUNT, [(count, now + ttl, barrier) for barrier, count in known.values()]
    )
    return counts


def _get_or_add_barrier(connection: sqlite3.Connection, key: str, now: float) -> tuple[int, int]:
    """Return the id and the number of members of a barrier; add the barrier if there is none."""
    found = connection.execute(_GET_BARRIER, (key,)).fetchone()
    if found is not None:
        barrier, count, until = found
        if until > now:
            return barrier, count
        _delete_barrier(connection, barrier)
    return connection.execute(_ADD_BARRIER, (key, now)).lastrowid or 0, 0


def _get_members(connection: sqlite3.Connection, key: str) -> dict[int, bytes]:
    return dict(connection.execute(_GET_MEMBERS, (key, time.time())))


def _delete_barriers(connection: sqlite3.Connection, keys: Sequence[str]) -> None:
    for key in keys:
        found = connection.execute(_GET_BARRIER, (key,)).fetchone()
        if found is not None:
            _delete_barrier(connection, found[0])


def _sweep_barriers(connection: sqlite3.Connection, now: float) -> None:
    # selected again inside the transaction, because ids are reused
    for (barrier,) in connection.execute(_EXPIRED_BARRIERS, (now, BARRIER_BATCH)).fetchall():
        _delete_barrier(connection, barrier)


def _delete_barrier(connection: sqlite3.Connection, barrier: int) -> None:
    connection.execute(_DELETE_MEMBERS, (barrier,))
    connection.execute(_DELETE_BARRIER, (barrier,))
