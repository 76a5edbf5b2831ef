"""How a process's doors share one client, and meet its faults."""

from __future__ import annotations

import os
import threading
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pymongo
from bson.codec_options import CodecOptions
from pymongo import MongoClient, ReadPreference, ReturnDocument, WriteConcern
from pymongo.errors import DuplicateKeyError, PyMongoError

from qcore.errors import BackendRejected
from qcore_mongo import error_mapping
from qcore_mongo.address import find
from qcore_mongo.indexes import INDEXES, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection
    from pymongo.cursor import Cursor
    from pymongo.database import Database

    from qcore.interfaces import Settings
    from qcore_mongo.address import Address

#: a document as the driver gives it
Document = dict[str, Any]
_T = TypeVar("_T")

_FORMS: Final = CodecOptions[Document](tz_aware=True)
#: milliseconds a majority of the members may take to confirm a write
_CONFIRM: Final = 10_000
#: seconds that a door which is closed waits for an answer
FAREWELL: Final = 1.0


class Shared:
    """One client for every door of a process that leads to the same place."""

    def __init__(self) -> None:
        # reentrant: a door may be forgotten, and closed, wherever memory is gathered
        self._lock = threading.RLock()
        self._client: MongoClient[Document] | None = None
        self._users = 0
        #: what the server said of itself
        self.hello: Document = {}
        #: collections whose indexes were seen
        self.seen: set[tuple[str, str]] = set()

    def enter(self, place: Address) -> MongoClient[Document]:
        """Return the client; it is made for the first who asks."""
        with self._lock:
            if self._client is None:
                # it connects at its first question, and has threads of its own from then on
                self._client = MongoClient(connect=False, **place.keywords)
            self._users += 1
            return self._client

    def leave(self) -> None:
        """Close the client behind the last who leaves."""
        with self._lock:
            self._users -= 1
            if self._users or self._client is None:
                return
            client, self._client = self._client, None
            self.hello = {}
            self.seen.clear()
        # it ends its sessions, and would wait for a server that is away
        with pymongo.timeout(FAREWELL):
            client.close()


@cache
def _shared(pid: int, key: str) -> Shared:
    """Return what is shared in a process; a fork of it has another."""
    del pid, key
    return Shared()


class Client:
    """The collections of a queue, reached when they are needed."""

    def __init__(self, settings: Settings) -> None:
        self.place = find(settings)
        self._queue = settings.name
        self._shared: Shared | None = None
        self._database: Database[Document] | None = None
        self._leave: Callable[[], object] | None = None
        self._closed = False

    @property
    def backend(self) -> str:
        """Return the name of this queue's place, the same in every process."""
        return f"mongodb:{self.place.title}#{self._queue}"

    # -- asking -----------------------------------------------------------------------------

    def do(self, step: Callable[[], _T], *, again: bool = False, doubt: str = "") -> _T:
        """Return what a step returns, its faults made ours.

        A step that may be done twice is done `again` if the first time met a fault that passes:
        the driver does so by itself with most writes, if they are of one document each.
        """
        try:
            return step()
        except PyMongoError as exc:
            if not (again and error_mapping.is_passing(exc)):
                raise self.fault(exc, doubt) from _bare(exc)
        try:
            return step()
        except PyMongoError as exc:
            raise self.fault(exc, doubt) from _bare(exc)

    def read(self, cursor: Cursor[Document]) -> list[Document]:
        """Return what a question finds."""

        def step() -> list[Document]:
            # one that has met a fault would say that there is nothing
            return list(cursor.rewind())

        return self.do(step, again=True)

    def change(
        self,
        kind: Kind,
        id: object,
        change: list[Document],
        *,
        again: bool = True,
    ) -> Document:
        """Change a document, making it if there is none; return it as it is then."""
        kept, name = self.collection(kind), {"_id": id}

        def step() -> Any:  # noqa: ANN401 - a document
            try:
                return kept.find_one_and_update(
                    name, change, upsert=True, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:
                # another made it at the same time
                return kept.find_one_and_update(name, change, return_document=ReturnDocument.AFTER)

        found: Document = self.do(step, again=again)
        return found

    def fault(self, error: PyMongoError, doubt: str = "") -> Exception:
        """Return what to raise for an error of the driver's."""
        if self._shared is not None:
            # another server may be asked next time, or an index be gone
            self._shared.hello = {}
            self._shared.seen.clear()
        return error_mapping.read(error, self.place.title, doubt=doubt)

    # -- what is there ----------------------------------------------------------------------

    def collection(self, kind: Kind) -> Collection[Document]:
        """Return a collection that has its indexes."""
        database, shared = self._enter()
        found = database[kind.collection(self._queue)]
        if (database.name, found.name) not in shared.seen:
            self.do(lambda: self._index(found, kind), again=True)
            shared.seen.add((database.name, found.name))
        return found

    @property
    def database(self) -> Database[Document]:
        """Return the database."""
        return self._enter()[0]

    def session(self) -> ClientSession:
        """Return a new session."""
        client = self.database.client
        return self.do(client.start_session)

    def hello(self) -> Document:
        """Return what the server says of itself."""
        database, shared = self._enter()
        if not shared.hello:
            shared.hello = self.do(lambda: database.command("hello"), again=True)
        return shared.hello

    @property
    def replicated(self) -> bool:
        """Return whether there are change streams and transactions."""
        hello = self.hello()
        return "setName" in hello or hello.get("msg") == "isdbgrid"

    def close(self) -> None:
        """Let go of the client for good; calling it twice is harmless."""
        self._closed = True
        self._shared = self._database = None
        if self._leave is not None:
            self._leave()

    def _enter(self) -> tuple[Database[Document], Shared]:
        if self._closed:
            raise BackendRejected(
                f"this connection to mongodb at {self.place.title} was closed; make a new one"
            )
        if self._shared is None or self._database is None:
            shared = _shared(os.getpid(), self.place.key)
            client = self.do(lambda: self._checked(shared))
            self._shared = shared
            # a producer may be forgotten by whoever made it, and is when the process ends
            self._leave = weakref.finalize(self, _leave, shared, os.getpid())
            self._database = self.do(lambda: self._named(client))
        return self._database, self._shared

    def _checked(self, shared: Shared) -> MongoClient[Document]:
        try:
            return shared.enter(self.place)
        except (TypeError, ValueError, OSError) as exc:
            # the driver's words for an option that cannot be, or a file of certificates that is not there
            raise BackendRejected(f"`mongo`: {exc}"[:300]) from None

    def _named(self, client: MongoClient[Document]) -> Database[Document]:
        concern = client.write_concern
        if concern.is_server_default:
            concern = WriteConcern("majority", wtimeout=_CONFIRM)
        elif not concern.acknowledged:
            raise BackendRejected(
                "`mongo`: w = 0 would lose tasks in silence; leave it out, or give 1 or more"
            )
        return client.get_database(
            self.place.database,
            codec_options=_FORMS,
            read_preference=ReadPreference.PRIMARY,
            write_concern=concern,
        )

    def _index(self, found: Collection[Document], kind: Kind) -> None:
        """Make the indexes whose names are missing."""
        there = {index["name"]: index["key"] for index in found.list_indexes()}
        # one of our names on other fields is asked for as well: the server's refusal tells of it
        missing = [one for one in INDEXES[kind] if there.get(one.document["name"]) != one.document["key"]]
        if missing:
            # a member that is down must not hold it up
            told: Document = {"commitQuorum": "majority"} if self.replicated else {}
            found.create_indexes(missing, **told)


def _leave(shared: Shared, pid: int) -> None:
    """Leave, unless this is a fork of the process that entered."""
    if pid == os.getpid():
        shared.leave()


def _bare(error: PyMongoError) -> PyMongoError | None:
    """Return the cause to show, None if its words might hold a password."""
    return None if type(error).__name__ == "InvalidURI" else error
