"""Decides how a process waits for changes of a collection."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import pymongo
from pymongo.errors import PyMongoError

from qcore.errors import BackendError
from qcore_mongo import error_mapping
from qcore_mongo.client import CLOSE_TIMEOUT

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from qcore_mongo.client import Client, Document
    from qcore_mongo.indexes import Kind

#: most seconds of one wait in the server
MAX_WAIT: Final = 5.0
#: seconds after which an unread stream is opened again, because old changes are of no interest
_STALE: Final = 1.0


class Stream:
    """A change stream of one collection, opened by the first wait and after an error.

    The driver's own change stream has a fixed wait; this one takes the seconds of each wait.
    """

    def __init__(self, client: Client, kind: Kind, wanted: Document) -> None:
        self._client = client
        self._kind = kind
        self._pipeline = [{"$changeStream": {}}, {"$match": wanted}, {"$project": {"_id": 1}}]
        self._longest = min(MAX_WAIT, client.address.timeout / 2)
        self._session: ClientSession | None = None
        self._cursor: Any = None
        self._collection = ""
        self._read = 0.0

    def wait(self, seconds: float) -> None:
        """Return after a change or after `seconds`, or at once if the stream was not open.

        The caller must check after each return.
        """
        if self._cursor is None or time.monotonic() - self._read > _STALE:
            self._open()
            return
        command = {
            "getMore": self._cursor,
            "collection": self._collection,
            "maxTimeMS": max(1, round(min(seconds, self._longest) * 1000)),
        }
        try:
            # 0, because None means the client's `timeoutMS`, which would replace this time
            with pymongo.timeout(0):
                reply = self._client.database.command(command, session=self._session)
        except PyMongoError as exc:
            self._drop()
            error = self._client.error_of(exc)
            if error_mapping.is_transient(exc):
                # a primary that steps down loses its cursors; the next wait opens the stream again
                return
            raise error from exc
        except BaseException:
            # a signal handler raised in the middle of an answer
            self._drop()
            raise
        self._cursor = reply["cursor"]["id"] or None
        self._read = time.monotonic()

    def close(self) -> None:
        """Close the stream."""
        if self._cursor is not None:
            command = {"killCursors": self._collection, "cursors": [self._cursor]}
            # an error is ignored, because the server closes the cursor by itself later
            with contextlib.suppress(PyMongoError, BackendError), pymongo.timeout(CLOSE_TIMEOUT):
                self._client.database.command(command, session=self._session)
        self._drop()

    def _drop(self) -> None:
        session, self._session, self._cursor = self._session, None, None
        if session is not None:
            session.end_session()

    def _open(self) -> None:
        self.close()
        collection = self._client.collection(self._kind)
        self._collection = collection.name
        self._session = self._client.session()
        command = {"aggregate": collection.name, "pipeline": self._pipeline, "cursor": {}}
        database = collection.database
        try:
            reply = self._client.do(lambda: database.command(command, session=self._session))
        except BaseException:
            self._drop()
            raise
        self._cursor = reply["cursor"]["id"]
        self._read = time.monotonic()
