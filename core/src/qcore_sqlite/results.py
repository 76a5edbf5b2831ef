"""Decides which results are kept and for how long."""

from __future__ import annotations

import logging
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from qcore.interfaces import ResultStore
from qcore.model import State, StoredResult
from qcore_plugin_support import epoch_seconds
from qcore_sqlite.database import Database

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from qcore.interfaces import Per, Settings

#: results deleted in one transaction, so that workers can write in between
PRUNE_BATCH = 5000

_SAVE = f"""insert into result (id, state, finished, expires, name, grp, label, body)
    values (?, ?, ?, ?, ?, ?, ?, ?)
    on conflict (id) do update set state = excluded.state, finished = excluded.finished,
    expires = excluded.expires, name = excluded.name, grp = excluded.grp, label = excluded.label,
    body = excluded.body
    where excluded.state >= state and state < {int(State.SUCCESS)}
    or expires > 0 and expires <= (julianday('now') - 2440587.5) * 86400"""  # noqa: S608 - a constant of ours
# bytes, because a row that is not ours may have values of any type, and text that is not UTF-8
_COLUMNS = """select cast(id as blob), state, cast(body as blob), cast(name as blob), cast(grp as blob),
    finished, expires, cast(label as blob) from result"""
_ALIVE = "(expires = 0 or expires > ?)"
_GET = f"{_COLUMNS} where id = ? and {_ALIVE}"
_GROUP = f"{_COLUMNS} where grp = ? and {_ALIVE} order by finished, id"
_RECENT = f"{_COLUMNS} where state = ? and {_ALIVE} order by finished desc, id desc limit ?"
_STATES: Final = frozenset(map(int, State))
_COUNTS = """select state, count(*) from result group by state
    union all select state, -count(*) from result where expires > 0 and expires <= ? group by state"""

_UNGROUP = f"update result set grp = null where grp = ? and {_ALIVE}"  # noqa: S608 - constants of ours

_EXPIRED = "select rowid from result where expires > 0 and expires <= ? limit ?"
_FIRST_BEYOND = """select cast(finished as real), cast(id as blob) from result where state = ?
    order by finished desc, id desc limit 1 offset ?"""
_BEYOND = "select rowid from result where state = ? and (finished, id) <= (?, ?) limit ?"
_SURPLUS = """select number from (select rowid as number, row_number() over
    (partition by {column} order by finished desc, id desc) as rank from result where state = ?)
    where rank > ? limit ?"""
_COLUMN: Final[Mapping[Per, str]] = MappingProxyType({"group": "grp", "label": "label", "name": "name"})


_log = logging.getLogger("qcore_sqlite")


def make_results(settings: Settings) -> SqliteResults:
    """Open the result store named by the settings."""
    return SqliteResults(settings)


class SqliteResults(ResultStore):
    """Results in the queue's own file."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings)
        self.transaction_domain = self._database.transaction_domain

    @property
    def database(self) -> Database:
        """The connection, which a coordination store of the same thread may share."""
        return self._database

    def after_fork(self, owner: bytes) -> bool:
        """Open the file anew."""
        del owner
        self._database.begin_anew()
        return True

    def save(self, results: Sequence[StoredResult]) -> None:
        """Save results in one transaction."""
        if results:
            self._database.write(save, results)
            self._database.result_saved.notify()

    def get(self, ids: Sequence[bytes]) -> Sequence[StoredResult | None]:
        """Return results in the order of `ids`, None where there is none."""
        return self._database.read(_get, ids)

    def wait(self, id: bytes, seconds: float) -> StoredResult | None:
        """Return the result once it is final, or what there is after `seconds`; saving it ends the wait."""
        deadline = time.monotonic() + seconds
        while True:
            (result,) = self._database.read(_get, (id,))
            remaining = deadline - time.monotonic()
            if (result is not None and result.state.final) or remaining <= 0:
                return result
            self._database.result_saved.wait(remaining)

    def group(self, group: str) -> Sequence[StoredResult]:
        """Return the results of a group in the order they finished."""
        return self._database.read(_group, group)

    def recent(self, state: State | None = None, limit: int = 50) -> Sequence[StoredResult]:
        """Return the newest results, newest first."""
        found = self._database.read(_recent, list(State) if state is None else [state], limit)
        return sorted(found, key=lambda result: (result.finished, result.id), reverse=True)[:limit]

    def delete(self, ids: Sequence[bytes]) -> int:
        """Delete results; return how many."""
        return self._database.write(_delete, [(id_,) for id_ in ids])

    def replace(self, before: StoredResult, after: StoredResult) -> bool:
        """Replace the body of a result in one transaction."""
        return self._database.write(_replace, before, after)

    def counts(self) -> Mapping[State, int]:
        """Count results by state."""
        return self._database.read(_counts)

    def ungroup(self, group: str) -> int:
        """Take the results of a group out of it."""
        return self._database.write(_ungroup, group)

    def prune(self, keep: int, per: Per | None = None) -> int:
        """Delete expired results, the oldest successes and expired coordination records, in small batches."""
        pruned = self._delete_all(_EXPIRED, (time.time(),))
        if keep < 0:
            return pruned
        if per is not None:
            surplus = _SURPLUS.format(column=_COLUMN[per])
            return pruned + self._delete_all(surplus, (int(State.SUCCESS), keep))
        newest = self._database.read(_first_beyond, keep)
        if newest is not None:
            pruned += self._delete_all(_BEYOND, (int(State.SUCCESS), *newest))
        return pruned

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _delete_all(self, selection: str, values: tuple[object, ...]) -> int:
        deleted = 0
        # looked for first, because a search takes no lock
        while self._database.read(_any, selection, (*values, 1)):
            deleted += self._database.write(_delete_found, selection, (*values, PRUNE_BATCH))
        return deleted


def save(connection: sqlite3.Connection, results: Sequence[StoredResult]) -> None:
    """Save results as part of the caller's transaction."""
    connection.executemany(
        _SAVE,
        # int(), because sqlite3 binds a plain int five times faster than an enum
        [(r.id, int(r.state), r.finished, r.expires, r.name, r.group, r.label, r.body) for r in results],
    )


def _read(row: tuple[Any, ...]) -> StoredResult | None:
    """Return a result, None for a row that is not one."""
    id_, state, body, name, group, finished, expires, label = row
    if state not in _STATES:
        _log.error("the result %s is ignored, its state is %r", id_.hex(), state)
        return None
    return StoredResult(
        id_,
        State(state),
        body,
        name.decode(errors="backslashreplace"),
        None if group is None else group.decode(errors="backslashreplace"),
        epoch_seconds(finished),
        epoch_seconds(expires),
        None if label is None else label.decode(errors="backslashreplace"),
    )


def _get(connection: sqlite3.Connection, ids: Sequence[bytes]) -> list[StoredResult | None]:
    now = time.time()
    rows = [connection.execute(_GET, (id_, now)).fetchone() for id_ in ids]
    return [None if row is None else _read(row) for row in rows]


def _group(connection: sqlite3.Connection, group: str) -> list[StoredResult]:
    found = map(_read, connection.execute(_GROUP, (group, time.time())))
    return [one for one in found if one is not None]


def _ungroup(connection: sqlite3.Connection, group: str) -> int:
    return connection.execute(_UNGROUP, (group, time.time())).rowcount


def _recent(connection: sqlite3.Connection, states: Sequence[State], limit: int) -> list[StoredResult]:
    now = time.time()
    found = [_read(row) for state in states for row in connection.execute(_RECENT, (int(state), now, limit))]
    return [one for one in found if one is not None]


def _replace(connection: sqlite3.Connection, before: StoredResult, after: StoredResult) -> bool:
    values = (after.body, before.id, before.body)
    return connection.execute("update result set body = ? where id = ? and body = ?", values).rowcount > 0


def _counts(connection: sqlite3.Connection) -> dict[State, int]:
    counts: dict[State, int] = {}
    for state, count in connection.execute(_COUNTS, (time.time(),)):
        if state in _STATES:
            counts[State(state)] = counts.get(State(state), 0) + count
    return {state: count for state, count in counts.items() if count}


def _first_beyond(connection: sqlite3.Connection, keep: int) -> tuple[float, bytes] | None:
    found: tuple[float, bytes] | None = connection.execute(
        _FIRST_BEYOND, (int(State.SUCCESS), keep)
    ).fetchone()
    return found


def _any(connection: sqlite3.Connection, selection: str, values: tuple[object, ...]) -> bool:
    return connection.execute(selection, values).fetchone() is not None


def _delete_found(connection: sqlite3.Connection, selection: str, values: tuple[object, ...]) -> int:
    return connection.execute(f"delete from result where rowid in ({selection})", values).rowcount  # noqa: S608 - one of the selections above


def _delete(connection: sqlite3.Connection, ids: Sequence[tuple[bytes]]) -> int:
    return max(0, connection.executemany("delete from result where id = ?", ids).rowcount)
