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
#: the name of each queue that has ever had a message, and the default one once it has had a priority
REGISTER: Final = "insert or ignore into queue_state (name) values (?)"


def put(connection: sqlite3.Connection, messages: Sequence[Outgoing]) -> None:
    """Accept messages as part of the caller's transaction; the caller notifies waiting processes."""
    odd = [message for message in messages if message.delay > 0 or message.queue or message.priority]
    if not odd:
        connection.executemany(ENQUEUE, [(message.body,) for message in messages])
        return
    others = frozenset(message.id for message in odd)
    connection.executemany(ENQUEUE, [(message.body,) for message in messages if message.id not in others])
    now = time.time()
    later = [(now + message.delay, message.body) for message in odd if not _is_routed(message)]
    if later:
        connection.executemany(_ENQUEUE_LATER, later)
    routed = [message for message in odd if _is_routed(message)]
    if routed:
        connection.executemany(REGISTER, [(name,) for name in {message.queue for message in routed}])
        connection.executemany(
            _ENQUEUE_ROUTED,
            [(now + max(0.0, one.delay), one.queue, one.priority, one.body) for one in routed],
        )


def is_plain(message: Outgoing) -> bool:
    """Return whether a message is of the default queue and priority, and ready at once."""
    return message.delay <= 0 and not message.queue and not message.priority


def _is_routed(message: Outgoing) -> bool:
    return bool(message.queue or message.priority)
