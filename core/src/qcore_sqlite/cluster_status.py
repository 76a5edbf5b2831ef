"""Decides how the status of a cluster is stored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3


def publish(connection: sqlite3.Connection, cluster: str, body: bytes, expires: float) -> None:
    """Store a status until `expires`, epoch seconds; delete those that have expired."""
    connection.execute("delete from status where cluster = ? or expires <= ?", (cluster, time.time()))
    if body:
        connection.execute(
            "insert into status (cluster, expires, body) values (?, ?, ?)", (cluster, expires, body)
        )


def listed(connection: sqlite3.Connection) -> list[bytes]:
    """Return the statuses that have not expired."""
    rows = connection.execute(
        "select cast(body as blob) from status where expires > ? order by cluster", (time.time(),)
    )
    return [body for (body,) in rows]
