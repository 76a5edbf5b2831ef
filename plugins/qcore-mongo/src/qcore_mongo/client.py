"""Decides how a process shares one client and maps its errors."""

from __future__ import annotations

import os
import threading
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient, ReadPreference, ReturnDocument, WriteConcern
from pymongo.errors import DuplicateKeyError, PyMongoError

from qcore.errors import BackendRejected, BackendUnavailable, QueueMissing
from qcore_mongo import error_mapping
from qcore_mongo.address import find
from qcore_mongo.indexes import Kind, missing
from qcore_plugin_support import call_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection
    from pymongo.cursor import Cursor
    from pymongo.database import Database

    from qcore.interfaces import Settings
    from qcore_mongo.address import Address

#: a document as the driver returns it
Document = dict[str, Any]
_T = TypeVar("_T")

#: others may have written text that is not UTF-8, and dates beyond those of Python
_CODEC: Final = CodecOptions[Document](
    tz_aware=True,
    unicode_decode_error_handler="backslashreplace",
    datetime_conversion=DatetimeConversion.DATETIME_CLAMP,
)
#: milliseconds for a majority of the members to confirm a write
_CONFIRM: Final = 10_000
#: seconds to wait for an answer while a client is closed
CLOSE_TIMEOUT: Final = 1.0


class SharedClient:
    """The MongoClient that all brokers and stores of a process with one address share."""

    def __init__(self) -> None:
        # reentrant, because the garbage collector may close a broker or a store at any point
        self._lock = threading.RLock()
        self._client: MongoClient[Document] | None = None
        self._users = 0
        #: the server's answer to `hello`
        self.hello: Document = {}
        #: collections whose indexes exist
        self.indexed: set[tuple[str, str]] = set()

    def enter(self, address: Address) -> MongoClient[Document]:
        """Return the client, which is created for the first user."""
        with self._lock:
            if self._client is None:
                # it connects at the first command, and starts threads then
                self._client = MongoClient(connect=False, **address.keywords)
            self._users += 1
            return self._client

    def leave(self) -> None:
        """Close the client when its last user leaves."""
        with self._lock:
            self._users -= 1
            if self._users or self._client is None:
                return
            client, self._client = self._client, None
            self.hello = {}
            self.indexed.clear()
        # with a limit, because it ends its sessions and would wait for a server that does not answer
        with pymongo.timeout(CLOSE_TIMEOUT):
            client.close()


@cache
def _shared(pid: int, key: str) -> SharedClient:
    """Return the shared client of a process; a fork has another one."""
    del pid, key
    return SharedClient()


class Client:
    """Access to the collections of a queue; it connects when it is used."""

    def __init__(self, settings: Settings) -> None:
        self.address = find(settings)
        self._queue = settings.name
        self._shared: SharedClient | None = None
        self._database: Database[Document] | None = None
        self._finalizer: Callable[[], object] | None = None
        self._closed = False
        # processes of a cluster have an owner; its workers create what they use
        self._create = settings.create or bool(settings.owner)
        if not self._create:
            self._require()

    @property
    def transaction_domain(self) -> str:
        """Return the name of this queue's database, the same in every process."""
        return f"mongodb:{self.address.title}#{self._queue}"

    # -- commands ----------------------------------------------------------------------------

    def do(self, step: Callable[[], _T], *, repeatable: bool = False, if_unknown: str = "") -> _T:
        """Return what a step returns, and raise its errors as qcore's.

        A `repeatable` step is done a second time after a transient error; the driver itself repeats
        most writes of a single document. All of it has one time limit, however slowly an answer comes,
        and so have all steps of one call.
        `if_unknown` is added to an error after which the outcome of a step is not known.
        """
        with call_limit.within(self.address.timeout), pymongo.timeout(self._left()):
            try:
                return step()
            except PyMongoError as exc:
                if not (repeatable and error_mapping.is_transient(exc)):
                    raise self.error_of(exc, if_unknown) from _safe_cause(exc)
            try:
                return step()
            except PyMongoError as exc:
                raise self.error_of(exc, if_unknown) from _safe_cause(exc)

    def _left(self) -> float:
        """Return the seconds that are left of the call."""
        try:
            return call_limit.left()
        except TimeoutError as exc:
            raise BackendUnavailable(f"mongodb at {self.address.title} does not answer: {exc}") from exc

    def read(self, cursor: Cursor[Document]) -> list[Document]:
        """Return the documents that a cursor finds."""

        def step() -> list[Document]:
            # rewound, because a cursor that met an error would return nothing
            return list(cursor.rewind())

        return self.do(step, repeatable=True)

    def change(
        self,
        kind: Kind,
        id: object,
        change: list[Document],
        *,
        repeatable: bool = True,
    ) -> Document:
        """Change a document, which is created if it does not exist; return it after the change."""
        kept, name = self.collection(kind), {"_id": id}

        def step() -> Any:  # noqa: ANN401 - a document
            try:
                return kept.find_one_and_update(
                    name, change, upsert=True, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:
                # another process created it at the same time
                return kept.find_one_and_update(name, change, return_document=ReturnDocument.AFTER)

        found: Document = self.do(step, repeatable=repeatable)
        return found

    def error_of(self, error: PyMongoError, if_unknown: str = "") -> Exception:
        """Return the error to raise for an error of the driver."""
        if self._shared is not None:
            # the next command may reach another server, or an index may be missing
            self._shared.hello = {}
            self._shared.indexed.clear()
        return error_mapping.read(error, self.address.title, if_unknown=if_unknown)

    # -- collections ------------------------------------------------------------------------

    def collection(self, kind: Kind) -> Collection[Document]:
        """Return a collection; create its indexes if they are missing.

        Who only looks creates no collection: the indexes of one that is missing are created once it exists.
        """
        database, shared = self._enter()
        found = database[kind.collection(self._queue)]
        if (database.name, found.name) not in shared.indexed and self.do(
            lambda: self._index(found, kind), repeatable=True
        ):
            shared.indexed.add((database.name, found.name))
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
        """Return the server's answer to `hello`."""
        database, shared = self._enter()
        if not shared.hello:
            shared.hello = self.do(lambda: database.command("hello"), repeatable=True)
        return shared.hello

    @property
    def replicated(self) -> bool:
        """Return whether the server has change streams and transactions."""
        hello = self.hello()
        return "setName" in hello or hello.get("msg") == "isdbgrid"

    def close(self) -> None:
        """Stop using the client; a second call does nothing."""
        self._closed = True
        self._shared = self._database = None
        if self._finalizer is not None:
            self._finalizer()

    def _enter(self) -> tuple[Database[Document], SharedClient]:
        if self._closed:
            raise BackendRejected(
                f"this connection to mongodb at {self.address.title} was closed; make a new one"
            )
        if self._shared is None or self._database is None:
            shared = _shared(os.getpid(), self.address.key)
            client = self.do(lambda: self._checked(shared))
            self._shared = shared
            # a producer may not close it, and the process may end
            self._finalizer = weakref.finalize(self, _leave_unless_forked, shared, os.getpid())
            self._database = self.do(lambda: self._named(client))
        return self._database, self._shared

    def _checked(self, shared: SharedClient) -> MongoClient[Document]:
        try:
            return shared.enter(self.address)
        except (TypeError, ValueError, OSError) as exc:
            # the driver's text for an invalid option or a missing certificate file
            raise BackendRejected(f"`mongo`: {exc}"[:300]) from None

    def _named(self, client: MongoClient[Document]) -> Database[Document]:
        concern = client.write_concern
        if concern.is_server_default:
            concern = WriteConcern("majority", wtimeout=_CONFIRM)
        elif not concern.acknowledged:
            raise BackendRejected("`mongo`: w = 0 would lose tasks silently; leave it out, or set 1 or more")
        return client.get_database(
            self.address.database,
            codec_options=_CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=concern,
        )

    def _index(self, found: Collection[Document], kind: Kind) -> bool:
        """Create the missing indexes; return whether they exist now."""
        # an index of the same name on other fields is requested as well, so that the server refuses it
        there = list(found.list_indexes())
        if not there and not self._create:
            return False
        if wanted := missing(kind, there):
            # a member that is down must not delay it
            options: Document = {"commitQuorum": "majority"} if self.replicated else {}
            found.create_indexes(wanted, **options)
        return True

    def _require(self) -> None:
        """Raise `QueueMissing` where there is no collection of this queue."""
        names = [kind.collection(self._queue) for kind in Kind]
        try:
            # a user needs no right to list collections for those that it may use
            there = self.do(
                lambda: self.database.list_collection_names(
                    filter={"name": {"$in": names}}, authorizedCollections=True
                ),
                repeatable=True,
            )
        except BaseException:
            self.close()
            raise
        if not there:
            self.close()
            raise QueueMissing(
                f"there is no queue {self._queue!r} in mongodb at {self.address.title}; the first task that"
                " is enqueued, or a cluster, creates it; check the name if there should be one"
            )


def _leave_unless_forked(shared: SharedClient, pid: int) -> None:
    """Stop using the shared client, unless this process is a fork."""
    if pid == os.getpid():
        shared.leave()


def _safe_cause(error: PyMongoError) -> PyMongoError | None:
    """Return the cause to show, None if its text may contain a password."""
    return None if type(error).__name__ == "InvalidURI" else error
