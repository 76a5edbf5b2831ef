"""Decides which schedules are due and which process may fire them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.interfaces import ScheduleStore
from qcore.model import StoredSchedule
from qcore_sqlite.database import Database
from qcore_sqlite.putting import put

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from qcore.interfaces import Broker, Settings
    from qcore.model import Outgoing

_ADD = "insert or ignore into schedule (name, body, next_run, active) values (?, ?, ?, ?)"
# Whoever can write to the file can put values of any type anywhere, and text that is not UTF-8.
_SELECT = "select cast(name as blob), cast(body as blob), cast(next_run as real), active from schedule"
_ALL = f"{_SELECT} order by name"
_DUE = "where next_run <= ? and claimed_until <= ? and active order by next_run, name limit ?"
_ALL_DUE = f"{_SELECT} {_DUE}"
_CLAIM = f"update schedule set claimed_until = ? where name in (select name from schedule {_DUE})"  # noqa: S608 - no values in it
_GET = f"{_SELECT} where name = ?"


def make_schedules(settings: Settings) -> SqliteSchedules:
    """Open the schedule store named by the settings."""
    return SqliteSchedules(settings)


class SqliteSchedules(ScheduleStore):
    """Schedules in the queue's own file."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings)
        self.transaction_domain = self._database.transaction_domain

    def add(self, schedule: StoredSchedule) -> bool:
        """Store a schedule unless there is one of the same name; return whether it was stored."""
        return self._database.write(_add, schedule)

    def remove(self, name: str) -> bool:
        """Delete a schedule; return whether it existed."""
        return self._database.write(_remove, name)

    def all(self) -> Sequence[StoredSchedule]:
        """Return every schedule, by name."""
        return self._database.read(_select, _ALL, ())

    def get(self, name: str) -> StoredSchedule | None:
        """Return the schedule of this name."""
        found = self._database.read(_select, _GET, (name,))
        return found[0] if found else None

    def claim_due(self, now: float, limit: int, hold: float) -> Sequence[StoredSchedule]:
        """Claim due schedules for `hold` seconds; write nothing if none is due."""
        if not self._database.read(_select, _ALL_DUE, (now, now, 1)):
            return ()
        return self._database.write(_claim_due, now, limit, hold)

    def advance(self, before: StoredSchedule, after: StoredSchedule | None) -> bool:
        """Replace a schedule by `after`, or delete it, if the stored one still has the bytes of `before`."""
        return self._database.write(_advance, before, after)

    def fire(
        self,
        broker: Broker,
        messages: Sequence[Outgoing],
        before: StoredSchedule,
        after: StoredSchedule | None,
    ) -> bool:
        """Enqueue and advance in one transaction, if the queue is in the same file."""
        if broker.capabilities.transaction_domain != self.transaction_domain:
            return super().fire(broker, messages, before, after)
        fired = self._database.write(_fire, messages, before, after)
        if fired and messages:
            self._database.work_added.notify()
        return fired

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _add(connection: sqlite3.Connection, schedule: StoredSchedule) -> bool:
    row = (schedule.name, schedule.body, schedule.next_run, schedule.active)
    return connection.execute(_ADD, row).rowcount > 0


def _remove(connection: sqlite3.Connection, name: str) -> bool:
    return connection.execute("delete from schedule where name = ?", (name,)).rowcount > 0


def _select(connection: sqlite3.Connection, query: str, values: tuple[object, ...]) -> list[StoredSchedule]:
    return [
        StoredSchedule(name.decode(errors="backslashreplace"), body, next_run, bool(active))
        for name, body, next_run, active in connection.execute(query, values)
    ]


def _claim_due(connection: sqlite3.Connection, now: float, limit: int, hold: float) -> list[StoredSchedule]:
    due = _select(connection, _ALL_DUE, (now, now, limit))
    connection.execute(_CLAIM, (now + hold, now, now, limit))
    return due


def _advance(connection: sqlite3.Connection, before: StoredSchedule, after: StoredSchedule | None) -> bool:
    stored = _select(connection, _GET, (before.name,))
    if not stored or stored[0].body != before.body:
        return False
    _remove(connection, before.name)
    if after is not None:
        _add(connection, after)
    return True


def _fire(
    connection: sqlite3.Connection,
    messages: Sequence[Outgoing],
    before: StoredSchedule,
    after: StoredSchedule | None,
) -> bool:
    if not _advance(connection, before, after):
        return False
    put(connection, messages)
    return True
