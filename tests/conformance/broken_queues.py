"""Brokers that keep no order among the messages of a queue, or wake nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.model import Action
from qcore_testing.memory import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.model import Delivery, Settlement
    from qcore_testing.memory.message import Message


class _Behind(MemoryBroker):
    """Puts what comes back behind all others."""

    def put_behind(self, message: Message) -> None:
        """Let it be as if it had just come."""
        message.due = self._queue._clock()
        message.index = next(self._queue._numbers)


class ReleaseGoesBehind(_Behind):
    """Puts what is released behind all others."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Give it another place."""
        for one in settlements:
            if one.action is Action.RELEASE and one.receipt in self._queue._leased:
                self.put_behind(self._queue._leased[one.receipt])
        super().settle(settlements)


class OwnerGoesBehind(_Behind):
    """Puts what a dead process had leased behind all others."""

    def release_owner(self, owner: bytes) -> int:
        """Give it another place."""
        for message in self._queue._leased.values():
            self.put_behind(message)
        return super().release_owner(owner)


class ExpiryGoesBehind(_Behind):
    """Puts what has been leased behind all others, unless it was released."""

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Give it another place when the next are leased."""
        waiting = self._queue._waiting
        for message in waiting.remove(lambda one: one.deliveries > 0):
            self.put_behind(message)
            waiting.add(message)
        return super().lease(limit, wait)
