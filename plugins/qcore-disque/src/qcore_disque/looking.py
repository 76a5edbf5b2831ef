"""Decides which jobs wait on a queue, and their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qcore.interfaces import Waiting
from qcore_disque import error_mapping
from qcore_disque.node import checked
from qcore_disque.replies import peeked, waiting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from qcore_disque.node import Node
    from qcore_disque.nodes import Nodes
    from qcore_disque.replies import WaitingJob
    from qcore_plugin_support import CountedMessage

#: jobs listed in one step of a scan
_SCAN: Final = 500


class Looker:
    """The jobs of one queue that nobody has leased, on all nodes."""

    def __init__(self, nodes: Nodes, queue: bytes) -> None:
        self._nodes, self._queue = nodes, queue

    def oldest(self) -> bytes | None:
        """Return the body of the ready job that was added first."""
        return next((item.body for item in self._ready(1)), None)

    def waiting(self, limit: int) -> list[Waiting]:
        """Return ready messages, then delayed ones, for which all jobs of the nodes are read."""
        found = [Waiting(item.body) for item in self._ready(limit)[:limit]] if limit > 0 else []
        if len(found) < limit:
            delayed = [job for job in self.jobs() if job.delay > 0]
            delayed.sort(key=lambda job: job.delay)
            found += [Waiting(job.item.body, delay=job.delay) for job in delayed[: limit - len(found)]]
        return found

    def jobs(self, known: Collection[bytes] = ()) -> list[WaitingJob]:
        """Return what is ready or delayed on any node, but for jobs that are known, the oldest first."""
        found: dict[bytes, WaitingJob] = {}
        for node in self._nodes.every():
            for jobs in self._scan(node):
                found |= {job.id: job for job in map(waiting, jobs) if job and job.id not in known}
        return sorted(found.values(), key=lambda job: job.item.written_at)

    def _ready(self, count: int) -> list[CountedMessage]:
        """Return so many of each node, in its order; of several nodes by when they were added."""
        parts = [
            list(peeked(checked(reply, node.title)))
            for node in self._nodes.every()
            for reply in self._nodes.ask(node, [(b"QPEEK", self._queue, count)])
        ]
        if len(parts) == 1:
            return parts[0]
        return sorted((item for part in parts for item in part), key=lambda item: item.written_at)

    def _scan(self, node: Node) -> Iterator[list[Any]]:
        cursor: Any = b"0"
        while True:
            how = (b"COUNT", _SCAN, b"QUEUE", self._queue, b"REPLY", b"all")
            reply = next(iter(self._nodes.ask(node, [(b"JSCAN", cursor, *how)])), [b"0", []])
            match checked(reply, node.title):
                case [bytes() as cursor, list() as jobs] if cursor.isdigit():
                    yield jobs
                case _:
                    raise error_mapping.stranger(node.title, "JSCAN returned no list")
            if int(cursor) == 0:
                return
