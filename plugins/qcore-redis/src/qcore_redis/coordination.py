"""Decides how flags, permits, rate slots and barriers are stored in Redis."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

from qcore.coordination import CoordinationStore
from qcore_redis.client import Client
from qcore_redis.results import RedisResults
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.coordination import BarrierMember
    from qcore.interfaces import Settings

_log = logging.getLogger("qcore_redis.coordination")

#: digits of the index of a member at most
_DIGITS: Final = 10
#: keys, permits or arrivals in one step at most
_BULK: Final = 1000
#: what the names of flags, permits, rate slots and barriers begin with, behind the queue's
_KINDS: Final = (b"m:", b"p:", b"po:", b"v:", b"vh:", b"z:")
#: names of the database that are looked at in one step
_LOOKED_AT: Final = 5000
#: said where the answer to a reservation was lost
_UNKNOWN_OUTCOME: Final = "a rate slot may have been given all the same, and is then unused"


def make_coordination(settings: Settings) -> RedisCoordination:
    """Return the coordination store of a queue, by the connection of its results if there is one."""
    prefix = b"{qcore:%s}:" % settings.name.encode()
    beside = settings.beside
    client = (
        beside.client
        if isinstance(beside, RedisResults)
        else Client(settings.section("redis"), prefix + b"q")
    )
    return RedisCoordination(client, prefix)


class RedisCoordination(CoordinationStore):
    """Coordination beside the queue of the same name; time is the server's, and every key expires."""

    def __init__(self, link: Client, prefix: bytes) -> None:
        self._link = link
        self._prefix = prefix

    def after_fork(self, owner: bytes) -> bool:
        """Connect anew."""
        del owner
        self._link.after_fork()
        return True

    def set_flag(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds; b"" removes it."""
        self._link.run(script("set_flag"), key, value, _milliseconds(ttl))

    def get_flags(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return values in the order of `keys`."""
        found: list[bytes | None] = []
        for start in range(0, len(keys), _BULK):
            names = (self._prefix + b"m:" + key.encode() for key in keys[start : start + _BULK])
            found += self._link.call(b"MGET", *names)
        return found

    def acquire(self, key: str, holder: bytes, limit: int, ttl: float) -> bytes | None:
        """Take a place, or learn who was first of those who have them all."""
        first: bytes | None = self._link.run(script("acquire"), key, holder, limit, _milliseconds(ttl))
        return first

    def release(self, permits: Sequence[tuple[str, bytes]]) -> None:
        """Give permits up, a thousand in one step."""
        for start in range(0, len(permits), _BULK):
            words = (word for permit in permits[start : start + _BULK] for word in permit)
            self._link.run(script("release"), *words)

    def reserve(self, key: str, holder: bytes, interval: float, burst: int) -> float:
        """Return the seconds until the holder's rate slot, to the microsecond."""
        words = (key, holder, repr(interval * 1e6), burst)
        left: int = self._link.run(script("rate_limit"), *words, unknown_outcome=_UNKNOWN_OUTCOME)
        return left / 1e6

    def join_barrier(self, arrivals: Sequence[BarrierMember], ttl: float) -> Sequence[int]:
        """Note that members have come, a thousand in one step."""
        counts: list[int] = []
        for start in range(0, len(arrivals), _BULK):
            some = arrivals[start : start + _BULK]
            words = (word for one in some for word in (one.key, one.index, one.body))
            counts += self._link.run(script("join_barrier"), _milliseconds(ttl), *words)
        return counts

    def barrier_members(self, key: str) -> Mapping[int, bytes]:
        """Return what the members of a fan-in barrier returned, by index."""
        found = self._link.call(b"HGETALL", self._prefix + b"z:" + key.encode())
        members = {}
        for index, body in zip(found[::2], found[1::2], strict=True):
            if index.isdigit() and len(index) < _DIGITS:
                members[int(index)] = body
            else:
                _log.error("what is not a member was put into the barrier %s, as %r", key, index[:50])
        return dict(sorted(members.items()))

    def delete_barriers(self, keys: Sequence[str]) -> None:
        """Forget fan-in barriers."""
        for start in range(0, len(keys), _BULK):
            names = (self._prefix + b"z:" + key.encode() for key in keys[start : start + _BULK])
            self._link.call(b"UNLINK", *names)

    def clear(self) -> bool:
        """Remove everything; all names of the database are looked at for it."""
        cursor = b"0"
        while True:
            words = (b"SCAN", cursor, b"MATCH", self._prefix + b"*", b"COUNT", _LOOKED_AT)
            cursor, names = self._link.call(*words)
            ours = [name for name in names if name[len(self._prefix) :].startswith(_KINDS)]
            if ours:
                self._link.call(b"UNLINK", *ours)
            if cursor == b"0":
                return True

    def close(self) -> None:
        """Close the connection."""
        self._link.close()


def _milliseconds(ttl: float) -> int:
    """Return a time to live; one that is over leaves nothing for long."""
    return max(1, math.ceil(ttl * 1000))
