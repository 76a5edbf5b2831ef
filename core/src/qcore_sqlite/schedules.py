"""Decides which schedules are due and which process may fire them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.interfaces import ScheduleStore
from qcore.model import Schedule
from qcore_sqlite.broker import put
from qcore_sqlite.database import Database

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from qcore.interfaces import Broker, Settings
    from qcore.model import Outgoing

_FIELDS = """name, task, body, rule, time_zone, next_run, anchor, repeats, kept, catch_up, overlap, jitter,
    queue, declared, fault"""
_ADD = f"""insert or replace into schedule ({_FIELDS})
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""  # noqa: S608 - no values in it
_ALL = f"select {_FIELDS} from schedule order by name"  # noqa: S608 - as above
_DUE = f"""select {_FIELDS} from schedule
    where next_run <= ? and claimed_until <= ? and repeats <> 0 and fault = ''
    order by next_run, name limit ?"""  # noqa: S608 - as above
_CLAIM = "update schedule set claimed_until = ? where name = ?"
_GET = f"select {_FIELDS} from schedule where name = ?"  # noqa: S608 - as above


def make_schedules(settings: Settings) -> SqliteSchedules:
    """Open the schedule store named by the settings."""
    return SqliteSchedules(settings)


class SqliteSchedules(ScheduleStore):
    """Schedules in the queue's own file."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings)
        self.transaction_domain = self._database.transaction_domain

    def add(self, schedule: Schedule) -> None:
        """Store a schedule; it replaces one of the same name."""
        self._database.write(_add, schedule)

    def remove(self, name: str) -> bool:
        """Delete a schedule; return whether it existed."""
        return self._database.write(_remove, name)

    def all(self) -> Sequence[Schedule]:
        """Return every schedule, by name."""
        return self._database.read(_select, _ALL, ())

    def get(self, name: str) -> Schedule | None:
        """Return the schedule of this name."""
        found = self._database.read(_select, _GET, (name,))
        return found[0] if found else None

    def claim_due(self, now: float, limit: int, hold: float) -> Sequence[Schedule]:
        """Claim due schedules for `hold` seconds; write nothing if none is due."""
        if not self._database.read(_select, _DUE, (now, now, 1)):
            return ()
        return self._database.write(_claim_due, now, limit, hold)

    def advance(self, before: Schedule, after: Schedule | None) -> bool:
        """Replace a schedule by `after`, or delete it, if the stored one still equals `before`."""
        return self._database.write(_advance, before, after)

    def fire(
        self, broker: Broker, messages: Sequence[Outgoing], before: Schedule, after: Schedule | None
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


def _add(connection: sqlite3.Connection, schedule: Schedule) -> None:
    connection.execute(_ADD, _row(schedule))


def _remove(connection: sqlite3.Connection, name: str) -> bool:
    return connection.execute("delete from schedule where name = ?", (name,)).rowcount > 0


def _select(connection: sqlite3.Connection, query: str, values: tuple[object, ...]) -> list[Schedule]:
    return [_schedule(*row) for row in connection.execute(query, values)]


def _claim_due(connection: sqlite3.Connection, now: float, limit: int, hold: float) -> list[Schedule]:
    due = _select(connection, _DUE, (now, now, limit))
    connection.executemany(_CLAIM, [(now + hold, schedule.name) for schedule in due])
    return due


def _advance(connection: sqlite3.Connection, before: Schedule, after: Schedule | None) -> bool:
    if _select(connection, _GET, (before.name,)) != [before]:
        return False
    _remove(connection, before.name)
    if after is not None:
        _add(connection, after)
    return True


def _fire(
    connection: sqlite3.Connection,
    messages: Sequence[Outgoing],
    before: Schedule,
    after: Schedule | None,
) -> bool:
    if not _advance(connection, before, after):
        return False
    put(connection, messages)
    return True


def _row(schedule: Schedule) -> tuple[object, ...]:
    return (
        schedule.name,
        schedule.task,
        schedule.body,
        schedule.rule,
        schedule.time_zone,
        schedule.next_run,
        schedule.anchor,
        schedule.repeats,
        schedule.kept,
        schedule.catch_up,
        schedule.overlap,
        schedule.jitter,
        schedule.queue,
        schedule.declared,
        schedule.fault,
    )


def _schedule(*row: Any) -> Schedule:
    name, task, body, rule, time_zone, next_run, anchor, repeats, kept, catch_up, *rest = row
    overlap, jitter, queue, declared, fault = rest
    return Schedule(
        name=name,
        task=task,
        body=body,
        rule=rule,
        time_zone=time_zone,
        next_run=next_run,
        anchor=anchor,
        repeats=repeats,
        kept=kept,
        catch_up=None if catch_up is None else bool(catch_up),
        overlap=overlap,
        jitter=jitter,
        queue=queue,
        declared=declared,
        fault=fault,
    )
