"""Decides how an idle worker notices new messages."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendRejected
from qcore_mongo.indexes import READY, Kind
from qcore_mongo.messages import EPOCH
from qcore_mongo.stream import MAX_WAIT, Stream

if TYPE_CHECKING:
    from qcore.interfaces import Settings
    from qcore_mongo.client import Client, Document

_log = logging.getLogger("qcore_mongo.wakeup")

#: changes that make a message ready: an insertion, a release or a requeue
_NEWS: Final[Document] = {
    "$or": [
        {"operationType": {"$in": ["insert", "replace"]}},
        {
            "operationType": "update",
            "updateDescription.removedFields": {"$in": ["lease", "dead", "hidden"]},
        },
    ]
}
#: finds how long it takes until the next delay or lease ends
_NEXT: Final[list[Document]] = [
    {"$match": {"at": {"$gte": EPOCH}}},
    {"$sort": {"at": 1, "seq": 1}},
    {"$limit": 1},
    {"$project": {"left": {"$subtract": ["$at", "$$NOW"]}}},
]


class Waker:
    """Waits by a change stream of a replica set; polls a standalone server."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._poll = settings.poll
        # limits how late an expired lease is noticed
        self._longest = min(MAX_WAIT, max(1.0, settings.retry / 4))
        self._stream: Stream | None = Stream(client, Kind.MESSAGES, _NEWS)

    def wait(self, seconds: float) -> None:
        """Return when a message may be ready, or after `seconds`, or earlier."""
        if self._stream is None or not self._client.replicated:
            time.sleep(min(seconds, self._poll))
            return
        try:
            self._stream.wait(min(seconds, self._longest, self._next()))
        except BackendRejected as exc:
            _log.warning("change streams are not available, so the queue is polled: %s", exc)
            self._stream = None

    def close(self) -> None:
        """Close the change stream."""
        if self._stream is not None:
            self._stream.close()

    def _next(self) -> float:
        """Return the seconds until the next delay or lease ends."""
        messages = self._client.collection(Kind.MESSAGES)
        found = self._client.do(lambda: list(messages.aggregate(_NEXT, hint=READY)), repeatable=True)
        return float(found[0]["left"]) / 1000 if found else MAX_WAIT
