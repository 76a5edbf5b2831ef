"""Decides which messages are leased next."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from qcore.model import Delivery
from qcore_plugin_support import count_of, epoch_seconds
from qcore_sqlite import leases
from qcore_sqlite.leases import LAST_LEASED
from qcore_sqlite.streams import DEFAULT, Stream, are_used, by_priority, open_queues, priorities

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

# the body is cast because a row that is not ours may have a value of any type
_READY: Final = f"select seq, cast(body as blob) from queue where seq > {LAST_LEASED} order by seq limit ?"  # noqa: S608 - no values in it
# a row that still has a token belongs to a lease that has expired, see `leases`
_COLUMNS: Final = """key, cast(body as blob), deliveries, failures, crashes,
    case when token is null then 0.0 when token < 0 then token / -1e6 else at end"""
_RETURNED: Final = f"""select {_COLUMNS} from returned
    where queue is null and at <= ? and key > 0 order by at, key limit ?"""  # noqa: S608 - as above
_ROUTED: Final = f"""select {_COLUMNS} from returned
    where queue = ? and priority = ? and at <= ? and key > 0 order by at, key limit ?"""  # noqa: S608 - as above
_CLAIM_RETURNED: Final = "update returned set at = ?, token = ?, deliveries = deliveries + 1 where key = ?"


class Claim:
    """Leases of one token that are taken at one time."""

    def __init__(self, connection: sqlite3.Connection, token: int, now: float, until: float) -> None:
        self._connection = connection
        self._token = token
        self._now = now
        self._until = until

    def take(self, limit: int, order: Sequence[str] | None) -> list[Delivery]:
        """Lease up to `limit` messages: of these queues in turn, or of all by priority."""
        if not are_used(self._connection):
            return self._take_default(limit) if order is None or "" in order else []
        taken: list[Delivery] = []
        for stream in self._streams(order):
            left = limit - len(taken)
            taken += self._take_default(left) if stream == DEFAULT else self._take_routed(stream, left)
            if len(taken) >= limit:
                break
        return taken

    def _streams(self, order: Sequence[str] | None) -> list[Stream]:
        found = [
            Stream(queue, priority)
            for queue in open_queues(self._connection, order)
            for priority in priorities(self._connection, queue)
        ]
        if order is None:
            # of one priority, each queue is the first at times
            random.shuffle(found)
            found.sort(key=by_priority)
        return found

    def _take_default(self, limit: int) -> list[Delivery]:
        deliveries = self._take_returned(self._connection.execute(_RETURNED, (self._now, limit)).fetchall())
        if len(deliveries) < limit:
            deliveries += self._take_ready(limit - len(deliveries))
        return deliveries

    def _take_routed(self, stream: Stream, limit: int) -> list[Delivery]:
        return self._take_returned(self._connection.execute(_ROUTED, (*stream, self._now, limit)).fetchall())

    def _take_returned(self, rows: list[tuple[int, bytes, object, object, object, object]]) -> list[Delivery]:
        if rows:
            self._connection.executemany(
                _CLAIM_RETURNED, [(self._until, self._token, row[0]) for row in rows]
            )
        pack = leases.RECEIPT.pack
        return [
            Delivery(
                body,
                pack(self._token, -key),
                count_of(count_of(deliveries) + 1),
                count_of(failures),
                count_of(crashes),
                epoch_seconds(available),
            )
            for key, body, deliveries, failures, crashes, available in rows
        ]

    def _take_ready(self, limit: int) -> list[Delivery]:
        connection, token = self._connection, self._token
        rows = connection.execute(_READY, (limit,)).fetchall()
        if rows:
            connection.execute(
                "insert into lease (first, last, token, until) values (?, ?, ?, ?)",
                (rows[0][0], rows[-1][0], token, self._until),
            )
            if rows[-1][0] - rows[0][0] >= len(rows):
                connection.execute("delete from gap where seq <= ?", (rows[-1][0],))
        pack = leases.RECEIPT.pack
        return [Delivery(body, pack(token, seq)) for seq, body in rows]
