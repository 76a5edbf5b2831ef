"""Decides what calls for one queue ask of its physical queues."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING

import msgspec

from qcore.errors import NotSupported
from qcore.interfaces import Broker, QueueState
from qcore.model import QueueSize
from qcore_plugin_support import call_limit
from qcore_queues.names import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qcore.interfaces import Waiting
    from qcore_queues.routes import Route, Routes


@call_limit.each_call(lambda broker: broker.timeout)
class PhysicalCalls(Broker):
    """Counts, purges, shows and moves by asking the brokers of the queues."""

    #: seconds for the requests of a call
    timeout: float = math.inf
    routes: Routes

    @abstractmethod
    def child(self, route: Route) -> Broker:
        """Return the broker of one queue."""

    def size(self) -> QueueSize:
        """Count the messages of all."""
        return _sum([self.child(route).size() for route in self.routes.all])

    def purge(self) -> int:
        """Remove the messages of all; return how many."""
        return sum(self.child(route).purge() for route in self.routes.all)

    def peek(self) -> bytes | None:
        """Return a message that has been ready for longest in one of the queues."""
        return next((body for name in self.routes.names if (body := self._oldest(name)) is not None), None)

    def queues(self) -> Sequence[QueueState]:
        """Count each queue; one without messages is left out, unless it is the default one."""
        found: list[QueueState] = []
        for name in sorted(self.routes.names):
            size = _sum([self.child(route).size() for route in self.routes.of(name)])
            if not name or size.ready or size.leased or size.delayed:
                oldest = self._oldest(name) if size.ready else None
                counts = QueueSize(size.ready, size.leased, size.delayed)
                found.append(QueueState(name, counts, oldest=oldest))
        return found

    def waiting(self, limit: int, queue: str | None = None) -> Sequence[Waiting] | None:
        """Return what the queues show, the highest band first; None if the service shows nothing."""
        routes = self.routes.by_band() if queue is None else self.routes.of(queue)
        found: list[Waiting] = []
        for route in routes:
            some = self.child(route).waiting(limit)
            if some is None:
                return None
            found += [msgspec.structs.replace(one, queue=route.queue, priority=route.band) for one in some]
        return sorted(found, key=lambda one: one.delay)[:limit]

    def is_queue_paused(self, queue: str) -> bool:
        """Return False: the service pauses none."""
        del queue
        return False

    def pause_queue(self, queue: str, *, paused: bool) -> None:
        """Refuse: nothing that the service keeps would be seen by the next lease of every worker."""
        del paused
        msg = (
            f"queue {named(queue)!r}: this broker cannot pause it itself;"
            " `App.queue.pause` has clusters leave it out"
        )
        raise NotSupported(msg)

    def purge_queue(self, queue: str) -> int:
        """Remove the messages of one queue, of all bands; return how many."""
        return sum(self.child(route).purge() for route in self.routes.of(queue))

    def move_queue(self, source: str, target: str) -> int:
        """Refuse: the service moves no message from one of its queues to another."""
        self.routes.of(source)
        self.routes.of(target)
        msg = (
            f"queue {named(source)!r} to {named(target)!r}: this broker cannot move messages; let a cluster"
            f" with queues = [{named(source)!r}] run them"
        )
        raise NotSupported(msg)

    def _oldest(self, name: str) -> bytes | None:
        """Return a message of one queue: of several bands the lowest waits for longest."""
        for route in reversed(self.routes.of(name)):
            if (body := self.child(route).peek()) is not None:
                return body
        return None


def _sum(sizes: Iterable[QueueSize]) -> QueueSize:
    """Add sizes; what is not known of one is not known of all."""
    ready, *others = zip(*map(msgspec.structs.astuple, sizes), strict=True)
    return QueueSize(sum(ready), *(None if None in counts else sum(counts) for counts in others))
