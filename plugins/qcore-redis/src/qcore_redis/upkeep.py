"""How a queue is looked at, counted, cleared and mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qcore.interfaces import Broker
from qcore.model import QueueSize
from qcore_redis import dead_letters, key_ids, queues, removal
from qcore_redis.description import description
from qcore_redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qcore.interfaces import QueueState, Waiting
    from qcore.model import DeadLetter
    from qcore_redis.client import Client

#: messages in one call at most: what Lua can unpack, with room to spare
BULK: Final = 1000


class Upkeep(Broker):
    """What a broker has beside accepting, leasing and settling."""

    #: set by `__init__` of the broker
    _link: Client
    #: the key of the list of ready messages
    _queue: bytes

    def size(self) -> QueueSize:
        """Count the messages; what is ready is not counted one by one."""
        ready, held, delayed, dead_letters = self._link.run(script("size"))
        return QueueSize(ready=ready, leased=held, delayed=delayed, dead_letters=dead_letters)

    def peek(self) -> bytes | None:
        """Read the first item of the queue."""
        return self._link.run(script("looking", "peek")) or None

    def purge(self) -> int:
        """Remove what is ready or delayed, some thousands at a time."""
        count, seen = 0, True
        while seen:
            removed, seen = self._link.run(script("leases", "purge"), BULK)
            count += removed
        return count

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """List dead letters in the order they were dead-lettered."""
        return dead_letters.listed(self._link, self._queue[:-1], limit, after)

    def key_ids(self) -> Mapping[bytes, int]:
        """Count messages by the key that signed them, some hundreds in one step."""
        return key_ids.counted(self._link, self._queue[:-1])

    def replace_dead_letter(self, id: str, body: bytes) -> bool:
        """Give a dead letter another body."""
        return bool(self._link.run(script("replace_dead_letter"), id, body))

    def requeue(self, ids: Sequence[str]) -> int:
        """Make dead letters ready again."""
        return dead_letters.end(self._link, "requeue", ids)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters for good."""
        return dead_letters.end(self._link, "delete", ids)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._link.call(b"PING")

    def server_time(self) -> float:
        """Ask the server for its time."""
        seconds, microseconds = self._link.call(b"TIME")
        return int(seconds) + int(microseconds) / 1e6

    def info(self) -> str:
        """Say which server of which version, and where; who may not ask that learns where."""
        return description(self._link)

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Remove messages; the queue is read whole, some hundreds of messages in one step."""
        return removal.remove_messages(self._link, self._queue[:-1], ids)

    def find_messages(self, ids: Sequence[bytes]) -> Sequence[bytes] | None:
        """Find messages in any state; nothing is known of a queue that is too long to be read."""
        return removal.find_messages(self._link, ids)

    def queues(self) -> Sequence[QueueState]:
        """Return the queues that have messages or are paused."""
        return queues.listed(self._link)

    def pause_queue(self, queue: str, *, paused: bool) -> None:
        """Have no messages of a queue leased, or have them leased again."""
        queues.pause(self._link, queue, paused=paused)

    def is_queue_paused(self, queue: str) -> bool:
        """Tell whether a queue is paused."""
        return queues.is_paused(self._link, self._queue[:-1], queue)

    def purge_queue(self, queue: str) -> int:
        """Remove the messages of a queue that are not leased, a thousand in one step."""
        return queues.purge(self._link, queue)

    def move_queue(self, source: str, target: str) -> int:
        """Put the messages of a queue that are not leased into another, a thousand in one step."""
        return queues.move(self._link, source, target)

    def waiting(self, limit: int, queue: str | None = None) -> Sequence[Waiting] | None:
        """Return messages that are not leased, those that are leased first in front."""
        return queues.waiting(self._link, limit, queue)

    def publish_status(self, cluster: str, body: bytes, ttl: float) -> None:
        """Keep a status, and drop those that are expired."""
        self._link.run(script("publish"), cluster, round(ttl * 1000), body)

    def statuses(self) -> Sequence[bytes]:
        """Return the statuses that are not expired."""
        return list(self._link.run(script("statuses")))
