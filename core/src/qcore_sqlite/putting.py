"""Decides in which table a message waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from qcore.model import Outgoing

ENQUEUE: Final = "insert into queue (body) values (?)"
_ENQUEUE_LATER: Final = "insert into returned (at, body) values (?, ?)"
_ENQUEUE_ROUTED: Final = "insert into returned (at, queue, priority, body) values (?, ?, ?, ?)"


def put(connection: sqlite3.Connection, messages: Sequence[Outgoing]) -> None:
    """Accept messages as part of the caller's transaction; the caller notifies waiting processes."""
    odd = [message for message in messages if not is_plain(message)]
    if not odd:
        connection.executemany(ENQUEUE, [(message.body,) for message in messages])
        return
    connection.executemany(ENQUEUE, [(message.body,) for message in messages if is_plain(message)])
    now = time.time()
    later = [(now + message.delay, message.body) for message in odd if not _is_routed(message)]
    if later:
        connection.executemany(_ENQUEUE_LATER, later)
    routed = [message for message in odd if _is_routed(message)]
    if routed:
        connection.executemany(
            _ENQUEUE_ROUTED,
            [(now + max(0.0, one.delay), one.queue, one.priority, one.body) for one in routed],
        )


def is_plain(message: Outgoing) -> bool:
    """Return whether a message is of the default queue and priority, and ready at once."""
    return message.delay <= 0 and not message.queue and not message.priority


def _is_routed(message: Outgoing) -> bool:
    return bool(message.queue or message.priority)
