"""Decides how an idle worker notices new messages."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendRejected
from qcore_mongo import registry, routes
from qcore_mongo.indexes import Kind
from qcore_mongo.stream import MAX_WAIT, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Settings
    from qcore_mongo.client import Client, Document
    from qcore_queues.order import QueueOrder

_log = logging.getLogger("qcore_mongo.wakeup")

_ARRIVES: Final[Document] = {"operationType": {"$in": ["insert", "replace"]}}
#: changes beside an insertion that make a message ready: a release, a requeue, a move to another queue; and
#: a queue is paused or resumed
_COMES_BACK: Final[tuple[Document, ...]] = (
    {
        "operationType": "update",
        "updateDescription.removedFields": {"$in": ["lease", "dead", "hidden", "route"]},
    },
    {"updateDescription.updatedFields.route": {"$exists": True}},
    {"documentKey._id": registry.ID},
)


class Waker:
    """Waits by a change stream of a replica set; polls a standalone server."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._poll = settings.poll
        # limits how late an expired lease is noticed
        self._longest = min(MAX_WAIT, max(1.0, settings.retry / 4))
        self._stream: Stream | None = Stream(client, Kind.MESSAGES, _news(settings.queues))

    def wait(self, seconds: float, seconds_left: Callable[[], float | None]) -> None:
        """Return when a message may be ready, or after `seconds`, or earlier.

        Args:
            seconds: the most.
            seconds_left: asks how long it takes until the next delay or lease ends.

        """
        if self._stream is None or not self._client.replicated:
            time.sleep(min(seconds, self._poll))
            return
        try:
            left = seconds_left()
            self._stream.wait(min(seconds, self._longest, MAX_WAIT if left is None else left))
        except BackendRejected as exc:
            _log.warning("change streams are not available, so the queue is polled: %s", exc)
            self._stream = None

    def close(self) -> None:
        """Close the change stream."""
        if self._stream is not None:
            self._stream.close()


def _news(order: QueueOrder | None) -> Document:
    """Return a filter for changes after which a message of these queues may be ready; None = of all."""
    if order is None:
        return {"$or": [_ARRIVES, *_COMES_BACK]}
    mine: list[Document] = [{"fullDocument.route": {"$regex": routes.pattern(order.names)}}]
    if "" in order.names:
        mine.append({"fullDocument.route": {"$exists": False}})
    return {"$or": [{**_ARRIVES, "$or": mine}, *_COMES_BACK]}
