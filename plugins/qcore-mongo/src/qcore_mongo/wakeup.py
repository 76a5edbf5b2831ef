"""How an idle worker learns that there may be something to lease."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendRejected
from qcore_mongo.indexes import READY, Kind
from qcore_mongo.messages import EPOCH
from qcore_mongo.stream import LONGEST, Stream

if TYPE_CHECKING:
    from qcore.interfaces import Settings
    from qcore_mongo.client import Client, Document

_log = logging.getLogger("qcore_mongo.wakeup")

#: a message came, or the lease of one was given up; leases and ends are of no interest
_NEWS: Final[Document] = {
    "$or": [
        {"operationType": {"$in": ["insert", "replace"]}},
        {
            "operationType": "update",
            "updateDescription.removedFields": {"$in": ["lease", "buried", "hidden"]},
        },
    ]
}
#: how long until the next delay or lease is over
_NEXT: Final[list[Document]] = [
    {"$match": {"at": {"$gte": EPOCH}}},
    {"$sort": {"at": 1, "seq": 1}},
    {"$limit": 1},
    {"$project": {"left": {"$subtract": ["$at", "$$NOW"]}}},
]


class Waker:
    """Waits by a change stream where there is a replica set, else from poll to poll."""

    def __init__(self, link: Client, settings: Settings) -> None:
        self._link = link
        self._poll = settings.poll
        # bounds how late the end of another's lease is noticed
        self._longest = min(LONGEST, max(1.0, settings.retry / 4))
        self._stream: Stream | None = Stream(link, Kind.MESSAGES, _NEWS)

    def wait(self, seconds: float) -> None:
        """Return when there may be something, `seconds` are over, or sooner."""
        if self._stream is None or not self._link.replicated:
            time.sleep(min(seconds, self._poll))
            return
        try:
            self._stream.wait(min(seconds, self._longest, self._next()))
        except BackendRejected as exc:
            _log.warning("change streams are not to be had, so the queue is polled: %s", exc)
            self._stream = None

    def close(self) -> None:
        """Stop watching."""
        if self._stream is not None:
            self._stream.close()

    def _next(self) -> float:
        """Return the seconds until the next delay or lease is over."""
        messages = self._link.collection(Kind.MESSAGES)
        found = self._link.do(lambda: list(messages.aggregate(_NEXT, hint=READY)), again=True)
        return float(found[0]["left"]) / 1000 if found else LONGEST
