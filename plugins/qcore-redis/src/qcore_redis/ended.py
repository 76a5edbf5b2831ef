"""Which messages have ended, so that a copy is recognised."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, Self

import attrs

from qcore.model import Action

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qcore.interfaces import Settings
    from qcore.model import Settlement
    from qcore_redis.client import Client

#: found once, because Python 3.11 makes two calls to find a member
_ACK: Final = Action.ACK

#: bytes of an id
_ID: Final = 16


@attrs.define(kw_only=True)
class Ended:
    """Packs ended messages for the scripts, and looks for them.

    In a queue in good order every leased message is newer than all that have ended, and then one
    comparison with the highest id tells that none of a batch has. What is older is looked for.
    """

    #: seconds
    window: float
    limit: int
    #: the highest id that has ended, as the last lease packed; None = it did not tell
    high: bytes | None = attrs.field(default=None, init=False)

    @classmethod
    def where_wanted(cls, settings: Settings) -> Self | None:
        """Return it, or None if nothing is to be remembered."""
        window = settings.replay_window
        return cls(window=window, limit=settings.replay_limit) if window else None

    def words(self, settlements: Sequence[Settlement]) -> list[bytes | int]:
        """Return the arguments of `remember` for messages that are acknowledged; nothing if none is."""
        ids = [one.id for one in settlements if one.id and one.action is _ACK]
        if not ids:
            return []
        packed: list[bytes | int] = [max(1, round(self.window * 1000)), self.limit]
        for bucket, group in _by_bucket(ids):
            packed += (bucket, max(group).hex().encode(), b"".join(group))
        return packed

    def taken(self, reply: list[bytes]) -> None:
        """Take the highest id from behind the items of a lease."""
        try:
            self.high = bytes.fromhex(reply.pop().decode())
        except ValueError:
            # Somebody else has written it.
            self.high = None

    def find(self, link: Client, prefix: bytes, ids: Sequence[bytes]) -> Collection[bytes]:
        """Return those of these ids that have ended."""
        high = self.high
        if high is not None:
            if min(ids) > high:
                return ()
            ids = [id_ for id_ in ids if id_ <= high]
        buckets = _by_bucket(ids)
        blobs = link.call(b"MGET", *(prefix + b"o:" + bucket for bucket, _ in buckets))
        found: set[bytes] = set()
        for (_, group), blob in zip(buckets, blobs, strict=True):
            if blob:
                known = {blob[at : at + _ID] for at in range(0, len(blob), _ID)}
                found.update(known.intersection(group))
        return found


def _by_bucket(ids: Sequence[bytes]) -> list[tuple[bytes, list[bytes]]]:
    first, last = _bucket(min(ids)), _bucket(max(ids))
    if first == last:
        return [(first, list(ids))]
    return [(key, list(group)) for key, group in groupby(sorted(ids), _bucket)]


def _bucket(id: bytes) -> bytes:
    """Return the name of the four seconds in which a message was enqueued, hex digits."""
    return id[:5].hex().encode()[:9]
