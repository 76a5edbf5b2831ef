"""Results that live as long as this process."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from qcore.interfaces import ResultStore
from qcore.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from qcore.interfaces import Per
    from qcore.model import StoredResult


class ResultTable:
    """Results by id, shared by every store and thread that knows it."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self.changed = threading.Condition()
        self.rows: dict[bytes, StoredResult] = {}
        self._wall = wall

    def put(self, result: StoredResult) -> None:
        """Keep a result unless a better one is here."""
        stored = self.get(result.id)
        if stored is not None and (stored.state is State.SUCCESS or stored.state > result.state):
            return
        # taken out first, so that the table stays in the order of writing
        self.rows.pop(result.id, None)
        self.rows[result.id] = result

    def get(self, id: bytes) -> StoredResult | None:
        """Return a result that has not expired."""
        row = self.rows.get(id)
        return row if row is not None and not self._expired(row) else None

    def alive(self) -> list[StoredResult]:
        """Return what has not expired, in the order the runs finished."""
        rows = (row for row in self.rows.values() if not self._expired(row))
        return sorted(rows, key=lambda row: row.finished)

    def forget(self, ids: Iterable[bytes]) -> int:
        """Drop results."""
        return sum(self.rows.pop(id, None) is not None for id in ids)

    def expired(self) -> list[bytes]:
        """Return the ids of what has expired."""
        return [row.id for row in self.rows.values() if self._expired(row)]

    def surplus(self, keep: int, per: Per | None) -> list[bytes]:
        """Return the ids of the oldest successes beyond `keep` of each kind."""
        seen: Counter[str | None] = Counter()
        surplus = []
        for row in reversed(self.alive()):
            if row.state is State.SUCCESS:
                kind = getattr(row, per) if per else None
                seen[kind] += 1
                if seen[kind] > keep:
                    surplus.append(row.id)
        return surplus

    def _expired(self, row: StoredResult) -> bool:
        return 0.0 < row.expires <= self._wall()


class MemoryResults(ResultStore):
    """Keeps results in a `ResultTable`; other processes do not see them."""

    cross_process = False

    def __init__(self, table: ResultTable, *, backend: str) -> None:
        self._table = table
        self.transaction_domain = backend

    def save(self, results: Sequence[StoredResult]) -> None:
        """Keep results; they die with this process."""
        with self._table.changed:
            for result in results:
                self._table.put(result)
            self._table.changed.notify_all()

    def get(self, ids: Sequence[bytes]) -> Sequence[StoredResult | None]:
        """Return results in the order of `ids`."""
        with self._table.changed:
            return [self._table.get(id) for id in ids]

    def wait(self, id: bytes, seconds: float) -> StoredResult | None:
        """Return the result once it is terminal, or what there is when `seconds` are over."""

        def terminal() -> bool:
            row = self._table.get(id)
            return row is not None and row.state.final

        with self._table.changed:
            self._table.changed.wait_for(terminal, seconds)
            return self._table.get(id)

    def group(self, group: str) -> Sequence[StoredResult]:
        """Return the results of a group in the order they finished."""
        with self._table.changed:
            return [row for row in self._table.alive() if row.group == group]

    def recent(self, state: State | None = None, limit: int = 50) -> Sequence[StoredResult]:
        """Return the newest results, newest first."""
        with self._table.changed:
            rows = [row for row in self._table.alive() if state in (None, row.state)]
            return rows[::-1][:limit]

    def delete(self, ids: Sequence[bytes]) -> int:
        """Forget results."""
        with self._table.changed:
            return self._table.forget(ids)

    def counts(self) -> Mapping[State, int]:
        """Count results by state."""
        with self._table.changed:
            states = [row.state for row in self._table.alive()]
            return {state: states.count(state) for state in State}

    def ungroup(self, group: str) -> int:
        """Take the results of a group out of it."""
        with self._table.changed:
            found = [row for row in self._table.alive() if row.group == group]
            for row in found:
                # in its old place in the table
                self._table.rows[row.id] = msgspec.structs.replace(row, group=None)
            return len(found)

    def prune(self, keep: int, per: Per | None = None) -> int:
        """Forget what has expired, and the oldest successes beyond `keep`."""
        with self._table.changed:
            forgotten = self._table.forget(self._table.expired())
            return forgotten + (self._table.forget(self._table.surplus(keep, per)) if keep >= 0 else 0)

    def close(self) -> None:
        """Leave the results as they are, for other stores."""
