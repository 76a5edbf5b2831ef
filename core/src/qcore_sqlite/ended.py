"""Which messages have ended, so that a copy is recognised."""

from __future__ import annotations

import time
from itertools import groupby
from typing import TYPE_CHECKING, Final, Self

import attrs

from qcore.model import Action

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from qcore.interfaces import Settings
    from qcore.model import Settlement

#: found once, because Python 3.11 makes two calls to find a member
_ACK: Final = Action.ACK

#: Ids begin with their time in milliseconds. Those that share so many bytes, a quarter of a second, are
#: stored together.
_BUCKET: Final = 5
_ID: Final = 16
#: rows between two looks for rows to be deleted, whoever adds them: a worker may be replaced long before it
#: has added so many; and rows deleted in one
_TRIM_EVERY: Final = 50
_TRIM: Final = 200

# Whoever can write the file can put anything there: a row of other types is as if it were missing.
_LAST: Final = """select upto, high, seq from ended where typeof(high) = 'blob' and typeof(upto) = 'integer'
    and upto between 0 and (1 << 60) order by seq desc limit 1"""
_ADD: Final = "insert into ended (bucket, at, upto, high, ids) values (?, ?, ?, ?, ?)"
_FIND: Final = "select seq, ids from ended where bucket = ? and seq > ? and typeof(ids) = 'blob' order by seq"
_OLDEST: Final = """select seq, case typeof(upto) when 'integer' then upto else 0 end,
    case typeof(at) when 'real' then at else 0.0 end from ended order by seq limit ?"""


@attrs.define(kw_only=True)
class Ended:
    """The ids of acknowledged messages, by the time at which these were enqueued.

    In a queue in good order every leased message is newer than all that have ended, and then one
    comparison with the highest id tells that none of a batch has. What is older is looked for.
    """

    #: seconds
    window: float
    limit: int
    #: the highest id that has ended, when it was last read
    _high: bytes = attrs.field(default=b"", init=False)
    #: a bucket that was read, up to which row, and its ids: a large one is read once
    _bucket: bytes = attrs.field(default=b"", init=False)
    _seq: int = attrs.field(default=0, init=False)
    _ids: set[bytes] = attrs.field(factory=set, init=False)

    @classmethod
    def where_wanted(cls, settings: Settings) -> Self | None:
        """Return it, or None if nothing is to be remembered."""
        window = settings.replay_window
        return cls(window=window, limit=settings.replay_limit) if window else None

    def add(self, connection: sqlite3.Connection, settlements: Sequence[Settlement]) -> bool:
        """Remember the messages that these settlements acknowledge; return whether there are any.

        Then the highest id is known to whoever leases in the same transaction.
        """
        ids = [one.id for one in settlements if one.id and one.action is _ACK]
        if not ids:
            return False
        now, last = time.time(), connection.execute(_LAST).fetchone()
        upto, high, seq = last or (0, b"", 0)
        rows = []
        for bucket, group in _by_bucket(ids):
            upto += len(group)
            high = max(high, *group)
            rows.append((bucket, now, upto, high, b"".join(group)))
        connection.executemany(_ADD, rows)
        if (seq + len(rows)) // _TRIM_EVERY > seq // _TRIM_EVERY:
            self._trim(connection, now, upto)
        self._high = high
        return True

    def read_high(self, connection: sqlite3.Connection) -> None:
        """Read the highest id that has ended, in the transaction that leases."""
        last = connection.execute(_LAST).fetchone()
        self._high = last[1] if last else b""

    def suspects(self, ids: Sequence[bytes]) -> list[bytes]:
        """Return the ids that may have ended."""
        high = self._high
        if not high or min(ids) > high:
            return []
        return [id_ for id_ in ids if id_ <= high]

    def find(self, connection: sqlite3.Connection, ids: Sequence[bytes]) -> Collection[bytes]:
        """Return those of these ids that have ended."""
        found: set[bytes] = set()
        for bucket, group in _by_bucket(ids):
            if bucket != self._bucket:
                self._bucket, self._seq, self._ids = bucket, 0, set()
            for seq, blob in connection.execute(_FIND, (bucket, self._seq)):
                self._seq = seq
                self._ids.update(blob[at : at + _ID] for at in range(0, len(blob), _ID))
            found.update(self._ids.intersection(group))
        return found

    def _trim(self, connection: sqlite3.Connection, now: float, upto: int) -> None:
        last = 0
        for seq, count, at in connection.execute(_OLDEST, (_TRIM,)):
            # The newest row stays, because it knows the highest id.
            if count > upto - self.limit and now - at < self.window:
                break
            last = seq if count < upto else last
        connection.execute("delete from ended where seq <= ?", (last,))


def _by_bucket(ids: Sequence[bytes]) -> list[tuple[bytes, list[bytes]]]:
    first, last = min(ids)[:_BUCKET], max(ids)[:_BUCKET]
    if first == last:
        return [(first, list(ids))]
    return [(key, list(group)) for key, group in groupby(sorted(ids), lambda id_: id_[:_BUCKET])]
