"""Decides which schedules are due and which process may fire them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Integer, bindparam, delete, exists, select, update

from qcore.interfaces import ScheduleStore
from qcore.model import StoredSchedule
from qcore_plugin_support import epoch_seconds
from qcore_sql.compiled import Varied, clean, insert_into, or_nothing
from qcore_sql.database import Database
from qcore_sql.expressions import MARIADB, one_of, value
from qcore_sql.notify import put_and_notify
from qcore_sql.schema import SCHEDULE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Broker, Settings
    from qcore.model import Outgoing
    from qcore_sql.compiled import Rows
    from qcore_sql.session import Session

_S = SCHEDULE.c
_QUEUE = _S.queue == value("queue", _S.queue)
_NAMED = _QUEUE & (_S.name == value("old_name", _S.name))
_COLUMNS = (_S.name, _S.body, _S.next_run, _S.active)

_ADDED: Final = ("queue", "name", "body", "next_run", "active")


def _add_one(dialect: str) -> Any:  # noqa: ANN401 - an executable statement
    values = [value(name, _S[name]) for name in _ADDED]
    there = exists().where(_S.queue == values[0], _S.name == values[1])
    made = insert_into(SCHEDULE, dialect).from_select(_ADDED, select(*values).where(~there))
    # in MariaDB one that another process has just added is a conflict, and the transaction is repeated
    return made if dialect in MARIADB else or_nothing(made, dialect)


ADD: Final = Varied(_add_one)
REMOVE: Final = delete(SCHEDULE).where(_NAMED)
ALL: Final = select(*_COLUMNS).where(_QUEUE).order_by(_S.name)
GET: Final = select(*_COLUMNS).where(_NAMED)
_NOW = value("at", _S.next_run)
_DUE = (
    select(_S.name)
    .where(_QUEUE, _S.next_run <= _NOW, _S.claimed_until <= _NOW, _S.active)
    .order_by(_S.next_run, _S.name)
    .limit(bindparam("limit", type_=Integer()))
    .with_for_update(skip_locked=True)
)
_FOUND = _DUE.cte("found")
CLAIM: Final = (
    update(SCHEDULE)
    .where(_QUEUE, _S.name == _FOUND.c.name)
    .values(claimed_until=value("until", _S.claimed_until))
    .returning(*_COLUMNS)
)
#: the same where a change returns no rows
CHOOSE: Final = _DUE.with_only_columns(*_COLUMNS)
MARK: Final = (
    update(SCHEDULE)
    .where(_QUEUE, one_of(_S.name, "names"))
    .values(claimed_until=value("until", _S.claimed_until))
)
_SAME = _NAMED & (_S.body == value("old_body", _S.body))
ADVANCE: Final = (
    update(SCHEDULE)
    .where(_SAME)
    .values(
        body=value("body", _S.body),
        next_run=value("next_run", _S.next_run),
        active=value("active", _S.active),
        claimed_until=0.0,
    )
)
END: Final = delete(SCHEDULE).where(_SAME)


class SqlSchedules(ScheduleStore):
    """Schedules in the same database as a queue."""

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self._database = database or Database(settings)
        self._queue = settings.name
        self.transaction_domain = self._database.transaction_domain

    def add(self, schedule: StoredSchedule) -> bool:
        """Store a schedule unless there is one of the same name; return whether it was stored."""
        return self._database.single(_add, self._queue, schedule)

    def remove(self, name: str) -> bool:
        """Delete a schedule; return whether it existed."""
        return self._database.single(_remove, self._queue, name)

    def all(self) -> Sequence[StoredSchedule]:
        """Return every schedule, by name."""
        # the order of a database depends on its collation
        return sorted(self._database.read(_all, self._queue), key=lambda one: one.name)

    def get(self, name: str) -> StoredSchedule | None:
        """Return the schedule of this name."""
        return self._database.read(_get, self._queue, name)

    def claim_due(self, now: float, limit: int, hold: float) -> Sequence[StoredSchedule]:
        """Claim due schedules for `hold` seconds in one statement."""
        return self._database.brief(_claim_due, self._queue, now, limit, hold)

    def advance(self, before: StoredSchedule, after: StoredSchedule | None) -> bool:
        """Replace a schedule by `after`, or delete it, if the stored one still has the bytes of `before`."""
        return self._database.single(_advance, self._queue, before, after)

    def fire(
        self,
        broker: Broker,
        messages: Sequence[Outgoing],
        before: StoredSchedule,
        after: StoredSchedule | None,
    ) -> bool:
        """Enqueue and advance in one transaction, if the queue is in the same database."""
        if broker.capabilities.transaction_domain != self.transaction_domain:
            return super().fire(broker, messages, before, after)
        return self._database.write(_fire, self._queue, messages, before, after)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


def _read(rows: Rows) -> list[StoredSchedule]:
    return [
        StoredSchedule(name, body, epoch_seconds(next_run), bool(active))
        for name, body, next_run, active in rows
    ]


def _add(session: Session, queue: str, one: StoredSchedule) -> bool:
    values = {"body": one.body, "next_run": one.next_run, "active": one.active}
    return session.run(ADD, queue=queue, name=clean(one.name), **values) > 0


def _remove(session: Session, queue: str, name: str) -> bool:
    return session.run(REMOVE, queue=queue, old_name=clean(name)) > 0


def _all(session: Session, queue: str) -> list[StoredSchedule]:
    return _read(session.rows(ALL, queue=queue))


def _get(session: Session, queue: str, name: str) -> StoredSchedule | None:
    found = _read(session.rows(GET, queue=queue, old_name=clean(name)))
    return found[0] if found else None


def _claim_due(session: Session, queue: str, now: float, limit: int, hold: float) -> list[StoredSchedule]:
    if session.is_postgresql:
        found = _read(session.rows(CLAIM, queue=queue, at=now, limit=limit, until=now + hold))
    else:
        found = _read(session.rows(CHOOSE, queue=queue, at=now, limit=limit))
        if found:
            session.run(MARK, queue=queue, names=[one.name for one in found], until=now + hold)
    return sorted(found, key=lambda one: (one.next_run, one.name))


def _advance(session: Session, queue: str, before: StoredSchedule, after: StoredSchedule | None) -> bool:
    old = {"queue": queue, "old_name": clean(before.name), "old_body": before.body}
    if after is None:
        return session.run(END, **old) > 0
    new = {"body": after.body, "next_run": after.next_run, "active": after.active}
    return session.run(ADVANCE, **old, **new) > 0


def _fire(
    session: Session,
    queue: str,
    messages: Sequence[Outgoing],
    before: StoredSchedule,
    after: StoredSchedule | None,
) -> bool:
    if not _advance(session, queue, before, after):
        return False
    if messages:
        put_and_notify(session, queue, messages)
    return True
