"""Schedules that live as long as this process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from qcore.interfaces import ScheduleStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker
    from qcore.model import Outgoing, StoredSchedule


class ScheduleTable:
    """Schedules by name, shared by every store and thread that knows it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = threading.Lock()
        self.clock = clock
        self.rows: dict[str, StoredSchedule] = {}
        #: until when a slot is claimed, by `clock`
        self.held: dict[str, float] = {}

    def add(self, schedule: StoredSchedule) -> bool:
        """Keep a schedule unless there is one of the same name; return whether it is kept."""
        return self.rows.setdefault(schedule.name, schedule) is schedule

    def drop(self, name: str) -> bool:
        """Forget a schedule and its claim."""
        self.held.pop(name, None)
        return self.rows.pop(name, None) is not None

    def replace(self, before: StoredSchedule, after: StoredSchedule | None) -> bool:
        """Put `after` in the place of `before`, if that is what is kept."""
        found = self.rows.get(before.name)
        if found is None or found.body != before.body:
            return False
        self.drop(before.name)
        if after is not None:
            self.add(after)
        return True


class MemorySchedules(ScheduleStore):
    """Keeps schedules in a `ScheduleTable`; other processes do not see them."""

    cross_process = False

    def __init__(self, table: ScheduleTable, *, backend: str) -> None:
        self._table = table
        self.transaction_domain = backend

    def add(self, schedule: StoredSchedule) -> bool:
        """Keep a schedule unless there is one of the same name; return whether it is kept."""
        with self._table.lock:
            return self._table.add(schedule)

    def remove(self, name: str) -> bool:
        """Forget a schedule; return whether there was one."""
        with self._table.lock:
            return self._table.drop(name)

    def all(self) -> Sequence[StoredSchedule]:
        """Return every schedule, by name."""
        with self._table.lock:
            return sorted(self._table.rows.values(), key=lambda row: row.name)

    def get(self, name: str) -> StoredSchedule | None:
        """Return the schedule of this name."""
        with self._table.lock:
            return self._table.rows.get(name)

    def claim_due(self, now: float, limit: int, hold: float) -> Sequence[StoredSchedule]:
        """Return schedules that are due and nobody else's, the longest due first."""
        with self._table.lock:
            held, at = self._table.held, self._table.clock()
            due = [
                row
                for row in self._table.rows.values()
                if row.active and row.next_run <= now and held.get(row.name, 0.0) <= at
            ]
            claimed = sorted(due, key=lambda row: row.next_run)[:limit]
            held.update((row.name, at + hold) for row in claimed)
            return claimed

    def advance(self, before: StoredSchedule, after: StoredSchedule | None) -> bool:
        """Replace a claimed schedule by its next state, or remove it with None."""
        with self._table.lock:
            return self._table.replace(before, after)

    def fire(
        self,
        broker: Broker,
        messages: Sequence[Outgoing],
        before: StoredSchedule,
        after: StoredSchedule | None,
    ) -> bool:
        """Enqueue and advance while nobody else touches the schedules, if both are of one server."""
        if broker.capabilities.transaction_domain != self.transaction_domain:
            return super().fire(broker, messages, before, after)
        with self._table.lock:
            if not self._table.replace(before, after):
                return False
            broker.enqueue(messages)
            return True

    def close(self) -> None:
        """Leave the schedules as they are, for other stores."""
