"""Waiting in the server until something of interest is written."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import pymongo
from pymongo.errors import PyMongoError

from qcore.errors import BackendError
from qcore_mongo import error_mapping
from qcore_mongo.client import FAREWELL

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from qcore_mongo.client import Client, Document
    from qcore_mongo.indexes import Kind

#: seconds of one wait in the server at most
LONGEST: Final = 5.0
#: seconds after which a stream that was not read is not caught up with: what came is of no interest now
_STALE: Final = 1.0


class Stream:
    """A change stream of one collection; it is opened by the first wait, and anew after a fault.

    The driver's own would wait as long as it was told when it was opened; this one is told each time.
    """

    def __init__(self, link: Client, kind: Kind, wanted: Document) -> None:
        self._link = link
        self._kind = kind
        self._pipeline = [{"$changeStream": {}}, {"$match": wanted}, {"$project": {"_id": 1}}]
        self._longest = min(LONGEST, link.place.timeout / 2)
        self._session: ClientSession | None = None
        self._cursor: Any = None
        self._collection = ""
        self._read = 0.0

    def wait(self, seconds: float) -> None:
        """Return when something came or the time is over, or at once if it was not watched until now.

        Whoever waits looks for what he waits for after each return.
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
            # 0 and not None, which is the client's `timeoutMS`: it would take the place of this time
            with pymongo.timeout(0):
                reply = self._link.database.command(command, session=self._session)
        except PyMongoError as exc:
            self._drop()
            fault = self._link.fault(exc)
            if error_mapping.is_passing(exc):
                # a primary that steps down takes its cursors along: the next wait watches anew
                return
            raise fault from exc
        except BaseException:
            # a signal came in the middle of an answer
            self._drop()
            raise
        self._cursor = reply["cursor"]["id"] or None
        self._read = time.monotonic()

    def close(self) -> None:
        """Stop watching."""
        if self._cursor is not None:
            command = {"killCursors": self._collection, "cursors": [self._cursor]}
            # so much for politeness: the server forgets it by itself
            with contextlib.suppress(PyMongoError, BackendError), pymongo.timeout(FAREWELL):
                self._link.database.command(command, session=self._session)
        self._drop()

    def _drop(self) -> None:
        session, self._session, self._cursor = self._session, None, None
        if session is not None:
            session.end_session()

    def _open(self) -> None:
        self.close()
        collection = self._link.collection(self._kind)
        self._collection = collection.name
        self._session = self._link.session()
        command = {"aggregate": collection.name, "pipeline": self._pipeline, "cursor": {}}
        database = collection.database
        try:
            reply = self._link.do(lambda: database.command(command, session=self._session))
        except BaseException:
            self._drop()
            raise
        self._cursor = reply["cursor"]["id"]
        self._read = time.monotonic()
