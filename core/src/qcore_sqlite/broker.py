"""Decides what waits, what is leased and what is dead."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from qcore.interfaces import Broker, Capabilities
from qcore.model import DeadLetter, Delivery
from qcore_sqlite import counts, leases
from qcore_sqlite.database import IDENTITY, Database
from qcore_sqlite.leases import HEAD
from qcore_sqlite.results import SqliteResults, save

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import ResultStore, Settings
    from qcore.model import Outgoing, QueueSize, Settlement, StoredResult

#: messages in one transaction at most: others wait for the lock no longer than some milliseconds
BULK = 1000

_ENQUEUE = "insert into queue (body) values (?)"
_ENQUEUE_LATER = "insert into back (at, body) values (?, ?)"
_LOOK = f"""select exists (select 1 from queue where seq > {HEAD}),
    (select min(at) from back), (select min(until) from lease)"""  # noqa: S608 - no values in it
_READY = f"select seq, body from queue where seq > {HEAD} order by seq limit ?"  # noqa: S608 - as above
# a token that is still there is one of a lease that ran out
_RETURNED = """select key, body, deliveries + 1, failures, crashes,
    case when token is null then 0.0 else at end from back where at <= ? order by at, key limit ?"""
_CLAIM_RETURNED = "update back set at = ?, token = ?, deliveries = deliveries + 1 where key = ?"


def make_broker(settings: Settings) -> SqliteBroker:
    """Open the queue named by the settings."""
    return SqliteBroker(settings)


class SqliteBroker(Broker):
    """A queue in a file, for any number of processes of one machine."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings)
        self._retry = settings.retry
        self._owner = leases.owner_number(settings.owner)
        #: epoch seconds from when on outlived leases are looked for although there is other work
        self._expire_at = 0.0
        self.capabilities = Capabilities(
            receipts=True,
            extend=True,
            delay=True,
            counts_attempts=True,
            dead_letter=True,
            blocking=True,
            bulk=BULK,
            status=True,
            remove_messages=True,
            backend=self._database.backend,
        )

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Accept messages, all of them in one transaction."""
        if not messages:
            return
        if len(messages) == 1 and messages[0].delay <= 0:
            self._database.insert(_ENQUEUE, (messages[0].body,))
        else:
            self._database.write(put, messages)
        self._database.work.ring()

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Hand out messages; an idle wait neither writes nor takes processor time."""
        deadline = time.monotonic() + wait
        while limit > 0:
            pause = self._database.read(_seconds_to_next)
            if pause <= 0:
                self._expire_at = 0.0
                if deliveries := self._database.write(self._claim, limit):
                    return deliveries
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            self._database.work.wait(min(remaining, pause))
        return ()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases in one transaction."""
        if not settlements:
            return
        back = self._database.write(leases.settle, settlements, time.time())
        if back:
            self._database.work.ring()

    def commit_and_lease(
        self,
        store: ResultStore | None,
        results: Sequence[StoredResult],
        settlements: Sequence[Settlement],
        limit: int,
        then: Sequence[Outgoing] = (),
    ) -> Sequence[Delivery]:
        """Do it all in one transaction, but for results that are kept elsewhere."""
        if results and store is not None:
            if not (isinstance(store, SqliteResults) and store.backend == self._database.backend):
                store.save(results)
                results = ()
        else:
            results = ()
        if not (results or settlements or then):
            return self.lease(limit, 0.0) if limit else ()
        deliveries, more = self._database.write(self._commit_and_lease, results, then, settlements, limit)
        if results:
            self._database.done.ring()
        if more:
            self._database.work.ring()
        return deliveries

    def extend(self, receipts: Sequence[bytes], seconds: float) -> None:
        """Make leases last `seconds` from now."""
        if receipts:
            self._database.write(leases.extend, receipts, time.time() + seconds)

    def release_owner(self, owner: bytes) -> int:
        """Release what a dead process held."""
        count = (
            self._database.write(leases.release_owner, leases.owner_number(owner), time.time())
            if owner
            else 0
        )
        if count:
            self._database.work.ring()
        return count

    def size(self) -> QueueSize:
        """Count the messages; what is ready is not counted one by one."""
        return self._database.read(counts.size)

    def purge(self) -> int:
        """Remove what is ready or delayed."""
        return self._database.write(counts.purge)

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """List dead letters in the order they were buried."""
        return self._database.read(_dead_letters, limit, _number(after or "0"))

    def requeue(self, ids: Sequence[str]) -> int:
        """Make dead letters ready again."""
        count = self._database.write(_requeue, ids)
        if count:
            self._database.work.ring()
        return count

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters for good."""
        return self._database.write(_delete, ids)

    def ping(self) -> None:
        """Read from the file."""
        self._database.read(counts.size)

    def info(self) -> str:
        """Say which SQLite and which file."""
        return f"SQLite {sqlite3.sqlite_version}, {self._database.path}"

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Take messages back; looked for without a lock, and removed a thousand at a time."""
        if not ids:
            return ()
        self._database.write(leases.expire, time.time())
        found = self._database.read(counts.find, ids)
        return [
            body
            for start in range(0, len(found), BULK)
            for body in self._database.write(counts.remove_messages, found[start : start + BULK])
        ]

    def publish_status(self, cluster: str, body: bytes, ttl: float) -> None:
        """Keep a status, and drop those that are outlived."""
        self._database.write(_publish, cluster, body, time.time() + ttl)

    def statuses(self) -> Sequence[bytes]:
        """Return the statuses that are not outlived."""
        return self._database.read(_statuses)

    def _commit_and_lease(
        self,
        connection: sqlite3.Connection,
        results: Sequence[StoredResult],
        then: Sequence[Outgoing],
        settlements: Sequence[Settlement],
        limit: int,
    ) -> tuple[Sequence[Delivery], bool]:
        """Return what was leased, and whether others must be told of what was not."""
        if results:
            save(connection, results)
        if then:
            put(connection, then)
        more = bool(settlements) and leases.settle(connection, settlements, time.time())
        deliveries = self._claim(connection, limit) if limit else ()
        if then and not more:
            # with fewer than could be had, this lease took all that is ready
            more = len(deliveries) >= limit or any(message.delay > 0 for message in then)
        return deliveries, more

    def _claim(self, connection: sqlite3.Connection, limit: int) -> list[Delivery]:
        now = time.time()
        if now >= self._expire_at:
            leases.expire(connection, now)
            self._expire_at = now + IDENTITY
        token = leases.new_token(self._owner)
        until = now + self._retry
        deliveries = _claim_returned(connection, limit, now, until, token)
        if len(deliveries) < limit:
            deliveries += _claim_ready(connection, limit - len(deliveries), until, token)
        return deliveries


def put(connection: sqlite3.Connection, messages: Sequence[Outgoing]) -> None:
    """Accept messages as part of a transaction; whoever commits it rings the bell."""
    now = time.time()
    connection.executemany(_ENQUEUE, [(message.body,) for message in messages if message.delay <= 0])
    later = [(now + message.delay, message.body) for message in messages if message.delay > 0]
    if later:
        connection.executemany(_ENQUEUE_LATER, later)


def _seconds_to_next(connection: sqlite3.Connection) -> float:
    """Return 0 if there is something to lease, else the seconds until that may be so by itself."""
    ready, due, expiry = connection.execute(_LOOK).fetchone()
    if ready:
        return 0.0
    times = [time_ for time_ in (due, expiry) if time_ is not None]
    return max(0.0, min(times) - time.time()) if times else float("inf")


def _claim_returned(
    connection: sqlite3.Connection, limit: int, now: float, until: float, token: int
) -> list[Delivery]:
    rows = connection.execute(_RETURNED, (now, limit)).fetchall()
    if rows:
        connection.executemany(_CLAIM_RETURNED, [(until, token, row[0]) for row in rows])
    pack = leases.RECEIPT.pack
    return [Delivery(body, pack(token, -key), *counters) for key, body, *counters in rows]


def _claim_ready(connection: sqlite3.Connection, limit: int, until: float, token: int) -> list[Delivery]:
    rows = connection.execute(_READY, (limit,)).fetchall()
    if rows:
        connection.execute(
            "insert into lease (first, last, token, until) values (?, ?, ?, ?)",
            (rows[0][0], rows[-1][0], token, until),
        )
        if rows[-1][0] - rows[0][0] >= len(rows):
            connection.execute("delete from hole where seq <= ?", (rows[-1][0],))
    pack = leases.RECEIPT.pack
    return [Delivery(body, pack(token, seq)) for seq, body in rows]


def _dead_letters(connection: sqlite3.Connection, limit: int, after: int) -> list[DeadLetter]:
    rows = connection.execute(
        "select id, body, reason, at, failures, crashes from buried where id > ? order by id limit ?",
        (after, limit),
    )
    return [DeadLetter(str(number), *rest) for number, *rest in rows]


def _requeue(connection: sqlite3.Connection, ids: Sequence[str]) -> int:
    numbers = [(_number(text),) for text in ids]
    moved = connection.executemany(
        "insert into queue (body) select body from buried where id = ?", list(dict.fromkeys(numbers))
    ).rowcount
    connection.executemany("delete from buried where id = ?", numbers)
    return max(0, moved)


def _delete(connection: sqlite3.Connection, ids: Sequence[str]) -> int:
    numbers = [(_number(text),) for text in ids]
    return max(0, connection.executemany("delete from buried where id = ?", numbers).rowcount)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _publish(connection: sqlite3.Connection, cluster: str, body: bytes, expires: float) -> None:
    connection.execute("delete from status where cluster = ? or expires <= ?", (cluster, time.time()))
    if body:
        connection.execute(
            "insert into status (cluster, expires, body) values (?, ?, ?)", (cluster, expires, body)
        )


def _statuses(connection: sqlite3.Connection) -> list[bytes]:
    rows = connection.execute("select body from status where expires > ? order by cluster", (time.time(),))
    return [body for (body,) in rows]
