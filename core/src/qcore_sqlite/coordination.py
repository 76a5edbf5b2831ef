"""Decides how marks, places, turns and gatherings lie in tables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from qcore.coordination import CoordinationStore

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from qcore.coordination import BarrierMember
    from qcore_sqlite.database import Database

#: seconds a turn is kept for a holder that does not ask again
DAY: Final = 86400.0
#: outlived rows removed in one transaction: the workers want to write meanwhile
SWEEP: Final = 5000
#: as above; each of them may have thousands of members
GATHERINGS: Final = 20

_PUT = "insert or replace into mark (key, until, value) values (?, ?, ?)"
_REMOVE = "delete from mark where key = ?"
_LOOK = "select value from mark where key = ? and until > ?"

_VACATE = "delete from place where key = ? and until <= ?"
_KEEP = "update place set until = ? where key = ? and holder = ?"
_TAKEN = "select count(*), coalesce(max(came), 0) from place where key = ?"
_FIRST = "select holder from place where key = ? order by came limit 1"
_TAKE = "insert into place (key, holder, came, until) values (?, ?, ?, ?)"
_RELEASE = "delete from place where key = ? and holder = ?"

_TURN = "select at from turn where key = ? and holder = ? and at > ?"
_GIVEN = "delete from turn where key = ? and holder = ?"
_WAIT = "insert or replace into turn (key, holder, at) values (?, ?, ?)"
_LATEST = "select at from rate where key = ?"
_COUNT = "insert or replace into rate (key, at, until) values (?, ?, ?)"

_GATHERING = "select number, count, until from gathering where key = ?"
_FOUND = "insert into gathering (key, count, until) values (?, 0, ?)"
_JOIN = "insert or ignore into member (gathering, place, body) values (?, ?, ?)"
_COME = "update gathering set count = ?, until = ? where number = ?"
_GATHERED = """select place, body from member join gathering on gathering = number
    where key = ? and until > ? order by place"""
_LEAVE = "delete from member where gathering = ?"
_DISBAND = "delete from gathering where number = ?"

#: what has outlived its time, and how it is removed; by rows that nothing makes valid again
_OUTLIVED: Final = (
    (
        "select key, until from mark where until <= ? limit ?",
        "delete from mark where key = ? and until = ?",
    ),
    (
        "select key, holder, until from place where until <= ? limit ?",
        "delete from place where key = ? and holder = ? and until = ?",
    ),
    (
        f"select key, holder, at from turn where at + {DAY} <= ? limit ?",  # noqa: S608 - a constant of ours
        "delete from turn where key = ? and holder = ? and at = ?",
    ),
    (
        "select key, until from rate where until <= ? limit ?",
        "delete from rate where key = ? and until = ?",
    ),
)
_FORGOTTEN = "select number from gathering where until <= ? limit ?"


class SqliteCoordination(CoordinationStore):
    """Notes in the queue's own file; each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds; b"" removes it."""
        if value:
            self._database.insert(_PUT, (key, time.time() + ttl, value))
        else:
            self._database.insert(_REMOVE, (key,))

    def get_flags(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return values in the order of `keys`."""
        return self._database.read(_look, keys)

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Take a place; return None, or the first holder if all are taken."""
        return self._database.write(_acquire, key, holder, limit, ttl)

    def release(self, places: Sequence[tuple[str, bytes]]) -> None:
        """Give places up."""
        if places:
            self._database.write(_run, _RELEASE, places)

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Return the seconds until it is the holder's turn."""
        return self._database.write(_reserve, key, holder, interval, burst)

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Note that members have come; return how many there are by then."""
        return self._database.write(_join_barrier, arrivals, ttl) if arrivals else ()

    def barrier_members(self, key: str) -> Mapping[int, bytes]:
        """Return what the members of a gathering brought, by index."""
        return self._database.read(_gathered, key)

    def delete_barriers(self, keys: Sequence[str]) -> None:
        """Forget gatherings."""
        if keys:
            self._database.write(_disband, keys)

    def sweep(self) -> None:
        """Remove what has outlived its time, a few thousand rows at a time."""
        for selection, removal in _OUTLIVED:
            while rows := self._database.read(_select, selection, (time.time(), SWEEP)):
                self._database.write(_run, removal, rows)
        while self._database.read(_select, _FORGOTTEN, (time.time(), 1)):
            self._database.write(_sweep_gatherings, time.time())


def _select(
    connection: sqlite3.Connection, selection: str, values: tuple[object, ...]
) -> list[tuple[object, ...]]:
    return connection.execute(selection, values).fetchall()


def _run(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    connection.executemany(statement, rows)


def _look(connection: sqlite3.Connection, keys: Sequence[str]) -> list[bytes | None]:
    now = time.time()
    rows = [connection.execute(_LOOK, (key, now)).fetchone() for key in keys]
    return [None if row is None else row[0] for row in rows]


def _acquire(connection: sqlite3.Connection, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
    now = time.time()
    connection.execute(_VACATE, (key, now))
    if connection.execute(_KEEP, (now + ttl, key, holder)).rowcount:
        return None
    taken, latest = connection.execute(_TAKEN, (key,)).fetchone()
    if taken >= limit:
        found = connection.execute(_FIRST, (key,)).fetchone()
        return b"" if found is None else bytes(found[0])
    connection.execute(_TAKE, (key, holder, latest + 1, now + ttl))
    return None


def _reserve(connection: sqlite3.Connection, key: str, holder: bytes, interval: float, burst: int) -> float:
    now = time.time()
    known = connection.execute(_TURN, (key, holder, now - DAY)).fetchone()
    if known is not None:
        if known[0] <= now:
            connection.execute(_GIVEN, (key, holder))
        return max(0.0, float(known[0]) - now)
    latest = connection.execute(_LATEST, (key,)).fetchone()
    # with the whole burst unused, its turns lie in the past but for the last one
    at = now - (burst - 1) * interval
    if latest is not None:
        at = max(at, latest[0] + interval)
    connection.execute(_COUNT, (key, at, at + burst * interval))
    if at <= now:
        return 0.0
    connection.execute(_WAIT, (key, holder, at))
    return at - now


def _join_barrier(connection: sqlite3.Connection, arrivals: Sequence[BarrierMember], ttl: float) -> list[int]:
    now = time.time()
    #: number and count of the gatherings met so far
    known: dict[str, tuple[int, int]] = {}
    counts = []
    for arrival in arrivals:
        number, count = known.get(arrival.key) or _gathering(connection, arrival.key, now)
        count += connection.execute(_JOIN, (number, arrival.index, arrival.body)).rowcount
        known[arrival.key] = (number, count)
        counts.append(count)
    connection.executemany(_COME, [(count, now + ttl, number) for number, count in known.values()])
    return counts


def _gathering(connection: sqlite3.Connection, key: str, now: float) -> tuple[int, int]:
    """Return the number and the count of a gathering, a new one if there is none."""
    found = connection.execute(_GATHERING, (key,)).fetchone()
    if found is not None:
        number, count, until = found
        if until > now:
            return number, count
        _forget(connection, number)
    return connection.execute(_FOUND, (key, now)).lastrowid or 0, 0


def _gathered(connection: sqlite3.Connection, key: str) -> dict[int, bytes]:
    return dict(connection.execute(_GATHERED, (key, time.time())))


def _disband(connection: sqlite3.Connection, keys: Sequence[str]) -> None:
    for key in keys:
        found = connection.execute(_GATHERING, (key,)).fetchone()
        if found is not None:
            _forget(connection, found[0])


def _sweep_gatherings(connection: sqlite3.Connection, now: float) -> None:
    # looked up again: numbers are given out anew
    for (number,) in connection.execute(_FORGOTTEN, (now, GATHERINGS)).fetchall():
        _forget(connection, number)


def _forget(connection: sqlite3.Connection, number: int) -> None:
    connection.execute(_LEAVE, (number,))
    connection.execute(_DISBAND, (number,))
