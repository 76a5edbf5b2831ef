"""Decides which successes go, seeing some hundreds in one step."""

from __future__ import annotations

import heapq
import struct
import time
from typing import TYPE_CHECKING, Final

from qcore_redis.records import is_entry
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore.interfaces import Per
    from qcore_redis.client import Client

#: results forgotten in one step at most
_BULK: Final = 1000
#: successes seen in one step: the workers want the server meanwhile
_SEEN: Final = 500
_EXPIRES: Final = struct.Struct(">d")


def prune(link: Client, keep: int, per: Per | None) -> int:
    """Forget what has expired and the oldest successes beyond `keep`; return how many went."""
    count: int
    pruned = 0
    limit = keep if per is None else -1
    while count := link.run(script("results", "prune"), limit, _BULK, time.time()):
        pruned += count
    return pruned if per is None or keep < 0 else pruned + _prune_each(link, keep, per)


def _prune_each(link: Client, keep: int, per: Per) -> int:
    """Walk all successes, because they were not counted: the newest of each kind fill a heap of its own."""
    #: group, label or name -> time and id of the newest
    kept: dict[bytes, list[bytes]] = {}
    surplus: list[bytes] = []
    count: int
    address, last = 0, b""
    pruned = 0
    walk = script("results", "prune_each")
    while True:
        count, address, last, *seen = link.run(walk, last, address, per, _SEEN, *surplus)
        pruned += count
        if not seen:
            return pruned
        surplus = list(_surplus(seen, keep, kept))


def _surplus(seen: Sequence[bytes], keep: int, kept: dict[bytes, list[bytes]]) -> Iterator[bytes]:
    """Yield the ids that are beyond `keep`: as many newer ones are in the heap."""
    now = time.time()
    for entry, kind in zip(seen[::2], seen[1::2], strict=True):
        if not is_entry(entry):
            continue
        newest = kept.setdefault(kind, [])
        # as bytes, times of after 1970 are ordered like numbers
        one = entry[:8] + entry[16:]
        if 0 < _EXPIRES.unpack_from(entry, 8)[0] <= now:
            yield entry[16:]
        elif len(newest) < keep:
            heapq.heappush(newest, one)
        else:
            yield heapq.heappushpop(newest, one)[8:]
