"""Decides what is shown of a queue without reserving it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qcore.interfaces import Broker, Waiting
from qcore_ironmq.answers import readable
from qcore_ironmq.client import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_ironmq.client import Client

#: messages the service shows at most
SHOWN: Final = 100


def peek(link: Client, queue: str, count: int) -> list[Any]:
    """Return messages as the service shows them, the next ones first; none if there is no queue."""
    try:
        found: list[Any] = link.call("GET", queue, f"/messages?n={count}", promised="messages")
    except NotFound:
        return []
    return found


class Shows(Broker):
    """Shows what is ready; IronMQ shows neither what is delayed nor more than a hundred messages."""

    _link: Client
    _queue: str

    def peek(self) -> bytes | None:
        """Show the message that is reserved next."""
        return next((one.body for one in self.waiting(1)), None)

    def waiting(self, limit: int, queue: str | None = None) -> Sequence[Waiting]:
        """Show messages in the order in which they are reserved."""
        del queue
        found = peek(self._link, self._queue, min(limit, SHOWN)) if limit > 0 else []
        good, _ = readable(found, reserved=False)
        return [Waiting(one.item.body) for one in good]
