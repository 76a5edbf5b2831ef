"""Decides how results live in Redis."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from typing import TYPE_CHECKING, Final

from qcore.interfaces import ResultStore
from qcore.model import State
from qcore_redis import pruning, records
from qcore_redis.client import SHORTEST, Client
from qcore_redis.error_mapping import ClusterChanging, Crowded
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.interfaces import Per, Settings
    from qcore.model import StoredResult

_log = logging.getLogger("qcore_redis.results")

#: results in one call at most
BULK: Final = 1000
#: seconds of one wait in the server
LONGEST: Final = 5.0
#: seconds between looks where the server cannot wake us: from, to, doubling
PAUSES: Final = (0.02, 0.25)
#: results that leave their group in one step
_UNGROUPED: Final = 500
#: successes may be this far from the order in which they finished
_SLACK: Final = 1000


class RedisResults(ResultStore):
    """Results beside the queue of the same name."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = b"{qcore:%s}:" % settings.name.encode()
        self._link = Client(settings.section("redis"), self._prefix + b"q")
        self.transaction_domain = f"redis:{self._link.address.title}#{settings.name}"

    @property
    def client(self) -> Client:
        """The connection, which a coordination store of the same thread may share."""
        return self._link

    def after_fork(self, owner: bytes) -> bool:
        """Connect anew."""
        del owner
        self._link.after_fork()
        return True

    def save(self, results: Sequence[StoredResult]) -> None:
        """Keep results; those of one thousand in one step."""
        save(self._link, results)

    def get(self, ids: Sequence[bytes]) -> Sequence[StoredResult | None]:
        """Return results in the order of `ids`."""
        if not ids:
            return []
        now = time.time()
        found = self._link.call(b"HMGET", self._prefix + b"r", *ids)
        return [records.read(value, now) for value in found]

    def wait(self, id: bytes, seconds: float) -> StoredResult | None:
        """Return the result once it is terminal; whoever saves it wakes us."""
        deadline = time.monotonic() + seconds
        waiter = os.urandom(12)
        pause = PAUSES[0]
        while True:
            left = deadline - time.monotonic()
            turn = min(max(left, 0.0), self._link.longest(LONGEST))
            if turn <= 0:
                return self.get([id])[0]
            try:
                value = self._link.run_now(
                    script("results", "wait_result"), id, waiter, math.ceil(turn * 1000) + 1000
                )
                result = records.read(value, time.time())
                if result is not None and result.state.final:
                    return result
                self._link.block(b"BLPOP", self._prefix + b"a:" + waiter, max(turn, SHORTEST), seconds=turn)
            except (ClusterChanging, Crowded) as exc:
                _log.debug("the result %s is looked for without being woken: %s", id.hex(), exc)
                time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
                pause = min(pause * 2, PAUSES[1])
                with contextlib.suppress(ClusterChanging, Crowded):
                    result = self.get([id])[0]
                    if result is not None and result.state.final:
                        return result

    def group(self, group: str) -> Sequence[StoredResult]:
        """Return the results of a group in the order they finished."""
        ids = self._link.call(b"ZRANGE", self._prefix + b"g:" + group.encode(), 0, -1)
        return sorted(self._present(ids), key=_finished)

    def recent(self, state: State | None = None, limit: int = 50) -> Sequence[StoredResult]:
        """Return the newest results, newest first."""
        ids: list[bytes] = []
        if state in (None, State.SUCCESS):
            entries = self._link.call(b"LRANGE", self._prefix + b"s", -limit - _SLACK, -1)
            newest = (
                sorted(filter(records.is_entry, entries), key=records.entry_order)[-limit:] if limit else []
            )
            ids += [records.entry_id(entry) for entry in newest]
        for other, key in ((State.FAILED, b"f"), (State.RETRYING, b"y")):
            if state in (None, other):
                ids += self._link.call(b"ZRANGE", self._prefix + key, -limit, -1) if limit else []
        found = [one for one in self._present(ids) if state in (None, one.state)]
        return sorted(found, key=_finished, reverse=True)[:limit]

    def delete(self, ids: Sequence[bytes]) -> int:
        """Forget results."""
        count = 0
        for start in range(0, len(ids), BULK):
            count += self._link.run(script("results", "forget"), *ids[start : start + BULK])
        return count

    def counts(self) -> Mapping[State, int]:
        """Count results by state."""
        found = self._link.run(script("counts"), time.time())
        return {state: count for state, count in zip(State, found, strict=True) if count}

    def ungroup(self, group: str) -> int:
        """Take the results of a group out of it, some hundreds at a time."""
        left: int
        count = 0
        while True:
            left, seen = self._link.run(script("results", "clear_group"), group, _UNGROUPED)
            count += left
            if not seen:
                return count

    def prune(self, keep: int, per: Per | None = None) -> int:
        """Forget what has expired and the oldest successes, a thousand at a time."""
        return pruning.prune(self._link, keep, per)

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()

    def _present(self, ids: Sequence[bytes]) -> list[StoredResult]:
        return [one for one in self.get(list(dict.fromkeys(ids))) if one is not None]


def save(link: Client, results: Sequence[StoredResult]) -> None:
    """Keep results, a thousand in one step."""
    for start in range(0, len(results), BULK):
        count, packed = records.words(results[start : start + BULK])
        link.run(script("results", "save", fills=True), count, *packed)


def _finished(one: StoredResult) -> tuple[float, bytes]:
    return (one.finished, one.id)
