"""Decides how long the service keeps messages: as long as it can."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendRejected
from qcore_ironmq.client import NotFound

if TYPE_CHECKING:
    from qcore_ironmq.client import Client

_log = logging.getLogger("qcore_ironmq.retention")

#: seconds the service keeps a message at most: thirty days; by default, seven
LONGEST_LIFE: Final = 2_592_000


class Lasting:
    """The queues of a process, each looked at before it is posted to first.

    A queue that is made by posting keeps what is posted for a week, which is as long as a message
    may be delayed: one that is delayed so long would be gone before its time.
    """

    def __init__(self, link: Client) -> None:
        self._link = link
        self._known: set[str] = set()

    def ensure(self, queue: str) -> None:
        """Make a queue, or change one that keeps messages for less."""
        if queue in self._known:
            return
        try:
            found = self._link.call("GET", queue, promised="queue")
        except NotFound:
            self.make(queue)
            return
        lasts = found.get("message_expiration", 0)
        if not isinstance(lasts, int) or lasts < LONGEST_LIFE:
            self._extend_lease(queue, lasts)
        self._known.add(queue)

    def make(self, queue: str) -> None:
        """Make a queue that is not there."""
        self._link.call("PUT", queue, "", {"queue": {"message_expiration": LONGEST_LIFE}})
        self._known.add(queue)

    def _extend_lease(self, queue: str, lasts: object) -> None:
        try:
            self._link.call("PATCH", queue, "", {"queue": {"message_expiration": LONGEST_LIFE}})
        except BackendRejected as exc:
            _log.warning("queue %s keeps messages for %s s only: %s", queue, lasts, exc)
