"""Decides how long a worker waits for its next message."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from qcore_sqlite.leases import LAST_LEASED
from qcore_sqlite.streams import DEFAULT, are_used, open_queues, priorities

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_LOOK: Final = f"""select exists (select 1 from queue where seq > {LAST_LEASED}),
    (select min(at) from returned where queue is null), (select min(until) from lease)"""  # noqa: S608 - no values in it
_FIRST: Final = "select min(at) from returned where queue = ? and priority = ?"


def seconds_to_next(connection: sqlite3.Connection, order: Sequence[str] | None) -> float:
    """Return 0 if a message of these queues can be leased, else the seconds until a delay or a lease ends."""
    times: list[object] = []
    used = are_used(connection)
    queues = open_queues(connection, order) if used else [""] if order is None or "" in order else []
    if "" in queues:
        ready, due, expiry = connection.execute(_LOOK).fetchone()
        if ready:
            return 0.0
        times += [due, expiry]
    if used:
        times += _routed(connection, queues)
    numbers = [time_ for time_ in times if isinstance(time_, (int, float))]
    return max(0.0, min(numbers) - time.time()) if numbers else float("inf")


def _routed(connection: sqlite3.Connection, queues: Sequence[str]) -> Iterator[object]:
    """Yield when the first message of each stream can be leased."""
    for queue in queues:
        for priority in priorities(connection, queue):
            if (queue, priority) != DEFAULT:
                yield connection.execute(_FIRST, (queue, priority)).fetchone()[0]
