"""Decides what operators read and do: counts, dead letters, queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.interfaces import Broker
from qcore_sql import cluster_status, dead_letters, messages, queues, search
from qcore_sql.notify import notify
from qcore_sql.server import read_time
from qcore_sql.streams import paused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qcore.interfaces import QueueState, Waiting
    from qcore.model import DeadLetter, QueueSize
    from qcore_sql.database import Database
    from qcore_sql.session import Session

#: messages that are removed or moved in one transaction
_AT_ONCE = 5000


class SqlOperations(Broker):
    """The calls that no worker makes for a task."""

    _database: Database
    _queue: str

    def size(self) -> QueueSize:
        """Count the messages by state."""
        return self._database.read(messages.size, self._queue)

    def peek(self) -> bytes | None:
        """Read the ready message that was enqueued first."""
        return self._database.read(queues.first, self._queue)

    def purge(self) -> int:
        """Remove ready and delayed messages; return how many."""
        return self._by_parts(search.purge)

    def clear(self) -> int:
        """Remove every message, leased ones too, and every status; return how many messages."""
        return self._database.write(_clear, self._queue)

    def dead_letters(self, limit: int = 100, after: str | None = None) -> Sequence[DeadLetter]:
        """Return dead letters in the order in which they were dead-lettered."""
        return self._database.read(dead_letters.listed, self._queue, limit, after)

    def key_ids(self) -> Mapping[bytes, int]:
        """Count messages, except dead letters, by the key that signed them."""
        return self._database.read(search.key_ids, self._queue)

    def replace_dead_letter(self, id: str, body: bytes) -> bool:
        """Give a dead letter another body."""
        return self._database.single(dead_letters.replace, self._queue, id, body)

    def requeue(self, ids: Sequence[str]) -> int:
        """Make dead letters ready again; return how many."""
        return self._database.write(dead_letters.requeue, self._queue, ids)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove dead letters; return how many."""
        return self._database.single(dead_letters.delete_letters, self._queue, ids)

    def ping(self) -> None:
        """Ask the server for its time."""
        self._database.read(read_time)

    def info(self) -> str:
        """Return what the server is, its version and its address."""
        return self._database.info()

    def queue_id(self) -> str:
        """Return the random name of the database with the queue's."""
        return self._database.name()

    def server_time(self) -> float:
        """Return the time that the server's clock shows."""
        return self._database.read(read_time)

    def remove_messages(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Remove messages that are not leased."""
        return self._database.write(search.remove_messages, self._queue, ids) if ids else ()

    def find_messages(self, ids: Sequence[bytes]) -> Sequence[bytes] | None:
        """Find messages in any state by reading the queue."""
        return self._database.read(search.find_messages, self._queue, ids)

    def publish_status(self, cluster: str, body: bytes, ttl: float) -> None:
        """Store a status for `ttl` seconds, and delete those that have expired."""
        self._database.write(cluster_status.publish, self._queue, cluster, body, ttl)

    def statuses(self) -> Sequence[bytes]:
        """Return the statuses that have not expired."""
        return self._database.read(cluster_status.listed, self._queue)

    # -- queues of tasks --------------------------------------------------------------------

    def queues(self) -> Sequence[QueueState]:
        """Count the messages of each queue."""
        return self._database.read(queues.listed, self._queue)

    def pause_queue(self, queue: str, *, paused: bool) -> None:
        """Pause a queue, or resume it."""
        self._database.write(queues.pause, self._queue, queue, paused)
        if not paused:
            self._database.single(notify, self._queue)

    def is_queue_paused(self, queue: str) -> bool:
        """Tell whether a queue is paused."""
        return queue in self._database.read(paused, self._queue)

    def purge_queue(self, queue: str) -> int:
        """Remove ready and delayed messages of a queue; return how many."""
        return self._by_parts(queues.purge, queue)

    def move_queue(self, source: str, target: str) -> int:
        """Put ready and delayed messages into another queue; return how many."""
        if source == target:
            return 0
        moved = self._by_parts(queues.move, source, target)
        self._database.single(notify, self._queue)
        return moved

    def waiting(self, limit: int, queue: str | None = None) -> Sequence[Waiting]:
        """Look at ready and delayed messages."""
        return self._database.read(queues.waiting, self._queue, limit, queue)

    def _by_parts(self, change: Callable[..., int], *arguments: object) -> int:
        """Change messages up to the last one of now, some in each transaction; return how many."""
        last, changed = self._database.read(search.last, self._queue), 0
        while some := self._database.write(change, self._queue, *arguments, last=last, limit=_AT_ONCE):
            changed += some
        return changed


def _clear(session: Session, queue: str) -> int:
    count = session.run(messages.CLEAR, queue=queue) + session.run(dead_letters.CLEAR, queue=queue)
    session.run(cluster_status.CLEAR, queue=queue)
    return count
