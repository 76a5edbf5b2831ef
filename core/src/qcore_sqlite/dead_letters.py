"""Which messages are dead letters, and how they are requeued."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from qcore.model import DeadLetter
from qcore_plugin_support import count_of, epoch_seconds

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence


_REQUEUE: Final = "insert into queue (body) select body from dead_letter where id = ? and queue is null"
_REQUEUE_ROUTED: Final = """insert into returned (at, queue, priority, body)
    select ?, queue, priority, body from dead_letter where id = ? and queue is not null"""


def listed(connection: sqlite3.Connection, limit: int, after: str | None) -> list[DeadLetter]:
    """Return dead letters in the order in which they were dead-lettered."""
    behind = 0 if after is None else _number(after)
    if after is not None and not behind:
        return []
    rows = connection.execute(
        """select id, cast(body as blob), cast(reason as blob), at, failures, crashes from dead_letter
        where id > ? order by id limit ?""",
        (behind, limit),
    )
    return [
        DeadLetter(
            str(number),
            body,
            reason.decode(errors="backslashreplace"),
            epoch_seconds(at),
            count_of(failures),
            count_of(crashes),
        )
        for number, body, reason, at, failures, crashes in rows
    ]


def requeue(connection: sqlite3.Connection, ids: Sequence[str]) -> int:
    """Make dead letters ready again; return how many."""
    numbers = [(_number(text),) for text in ids]
    once = list(dict.fromkeys(numbers))
    moved = connection.executemany(_REQUEUE, once).rowcount
    now = time.time()
    routed = connection.executemany(_REQUEUE_ROUTED, [(now, *number) for number in once]).rowcount
    connection.executemany("delete from dead_letter where id = ?", numbers)
    return max(0, moved) + max(0, routed)


def delete(connection: sqlite3.Connection, ids: Sequence[str]) -> int:
    """Remove dead letters; return how many."""
    numbers = [(_number(text),) for text in ids]
    return max(0, connection.executemany("delete from dead_letter where id = ?", numbers).rowcount)


def replace(connection: sqlite3.Connection, id: str, body: bytes) -> bool:
    """Give a dead letter another body; return whether there was one."""
    changed = connection.execute("update dead_letter set body = ? where id = ?", (body, _number(id)))
    return changed.rowcount > 0


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
