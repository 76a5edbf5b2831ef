"""Queues and priorities over brokers in memory that have one queue each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import msgspec

from qcore_queues.physical import PhysicalQueues
from qcore_queues.routes import Declared, Route
from qcore_testing.memory import MemoryBroker, make_broker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.interfaces import Settings
    from qcore.model import Delivery, Outgoing


class OneQueue(MemoryBroker):
    """Knows no queues and no priorities."""

    def enqueue(self, messages: Sequence[Outgoing]) -> None:
        """Put all of them into the one."""
        super().enqueue([msgspec.structs.replace(one, queue="", priority=0) for one in messages])


def one_queue(settings: Settings) -> OneQueue:
    """Return a broker of one queue."""
    made = make_broker(attrs.evolve(settings, queues=None))
    made.__class__ = OneQueue
    assert isinstance(made, OneQueue)
    made.capabilities = attrs.evolve(made.capabilities, queues=False)
    return made


def memory_name(name: str, route: Route) -> str:
    """Return the name of a queue in memory: no other has it, because no name has a slash."""
    return f"{name}/{route.queue}/{route.band_word}" if route != Route() else name


class PhysicalMemory(PhysicalQueues[OneQueue]):
    """A queue in memory for each queue and band."""

    def __init__(self, settings: Settings, queues: Sequence[str], *, priorities: bool = True) -> None:
        super().__init__(settings, Declared(queues=queues, priorities=priorities))

    def make(self, settings: Settings, route: Route) -> OneQueue:
        """Make the broker of one queue."""
        return one_queue(attrs.evolve(settings, name=memory_name(settings.name, route)))

    def take(self, route: Route, limit: int, seconds: int) -> Sequence[Delivery]:
        """Lease from one queue."""
        return self.child(route).lease(limit, seconds)

    @property
    def longest(self) -> int:
        """Most seconds of a wait: none, so that it polls."""
        return 0
