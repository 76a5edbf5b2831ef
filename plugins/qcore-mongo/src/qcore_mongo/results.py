"""Decides how results are stored in MongoDB."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from qcore.errors import BackendRejected, PayloadTooLarge
from qcore.interfaces import ResultStore
from qcore.model import State, StoredResult
from qcore_mongo import error_mapping, pruning
from qcore_mongo.client import Client, Document
from qcore_mongo.indexes import Kind
from qcore_mongo.messages import MAX_BYTES
from qcore_mongo.stream import Stream
from qcore_plugin_support import call_limit, epoch_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymongo.collection import Collection

    from qcore.interfaces import Per, Settings

_log = logging.getLogger("qcore_mongo.results")

#: seconds until the second check of a result without change streams; each further pause is doubled
_FIRST: Final = 0.005
_NEWEST: Final = [("finished", -1), ("_id", -1)]
_OLDEST: Final = [("finished", 1), ("_id", 1)]


@call_limit.each_call(lambda made: made.timeout)
class MongoResults(ResultStore):
    """Results in the database of the queue."""

    def __init__(self, settings: Settings) -> None:
        self._client = Client(settings)
        #: seconds for the requests of a call
        self.timeout = self._client.address.timeout
        self._poll = settings.poll
        #: the user has no permission for change streams
        self._refused = False
        self.transaction_domain = self._client.transaction_domain

    def save(self, results: Sequence[StoredResult]) -> None:
        """Save results: one command for new ones, one more for existing ones."""
        made = {one.id: one for one in _last(results)}
        if not made:
            return
        documents = [_document(one) for one in made.values()]
        collection = self._client.collection(Kind.RESULTS)
        there = self._client.do(lambda: _insert(collection, documents), repeatable=True)
        if there:
            steps = [_replacing(made[id]) for id in there]
            self._client.do(lambda: _replace(collection, steps), repeatable=True)

    def get(self, ids: Sequence[bytes]) -> Sequence[StoredResult | None]:
        """Return results in the order of `ids`."""
        if not ids:
            return []
        collection = self._client.collection(Kind.RESULTS)
        wanted = collection.find({"_id": {"$in": list(set(ids))}})
        now = time.time()
        found = {one.id: one for one in _results(self._client.read(wanted))}
        present = (found.get(id) for id in ids)
        return [None if one is None or 0 < one.expires <= now else one for one in present]

    def wait(self, id: bytes, seconds: float) -> StoredResult | None:
        """Return the result once it is final, or what there is after `seconds`."""
        deadline = time.monotonic() + seconds
        found = self.get([id])[0]
        if _is_final(found) or seconds <= 0:
            return found
        stream = Stream(self._client, Kind.RESULTS, {"documentKey._id": id})
        pause = _FIRST
        try:
            while not _is_final(found) and (left := deadline - time.monotonic()) > 0:
                if not self._watched(stream, left):
                    time.sleep(min(left, pause))
                    pause = min(2 * pause, self._poll)
                call_limit.again()
                found = self.get([id])[0]
        finally:
            stream.close()
        return found

    def _watched(self, stream: Stream, seconds: float) -> bool:
        """Wait by a change stream; return False if they are not available."""
        if self._refused or not self._client.replicated:
            return False
        try:
            stream.wait(seconds)
        except BackendRejected as exc:
            self._refused = True
            _log.warning("change streams are not available, so results are polled: %s", exc)
            return False
        return True

    def group(self, group: str) -> Sequence[StoredResult]:
        """Return the results of a group in the order they finished."""
        found = self._client.collection(Kind.RESULTS).find({"group": group, **_present()}).sort(_OLDEST)
        return _results(self._client.read(found))

    def recent(self, state: State | None = None, limit: int = 50) -> Sequence[StoredResult]:
        """Return the newest results, newest first."""
        if limit <= 0:
            return []
        # the server merges one range of the index for each state
        states = {"$in": [int(one) for one in State]} if state is None else int(state)
        found = self._client.collection(Kind.RESULTS).find({"state": states, **_present()})
        return _results(self._client.read(found.sort(_NEWEST).limit(limit)))

    def delete(self, ids: Sequence[bytes]) -> int:
        """Delete results; return how many."""
        collection = self._client.collection(Kind.RESULTS)
        return self._client.do(lambda: collection.delete_many({"_id": {"$in": list(ids)}})).deleted_count

    def counts(self) -> Mapping[State, int]:
        """Count results by state."""
        collection = self._client.collection(Kind.RESULTS)
        by_state: Document = {"$group": {"_id": "$state", "count": {"$sum": 1}}}
        expired: list[Document] = [
            {"$match": {"gone": {"$lte": datetime.now(UTC)}}},
            {"$group": {"_id": "$state", "count": {"$sum": -1}}},
        ]
        pipeline = [
            {"$match": {"state": {"$gte": 0}}},
            by_state,
            {"$unionWith": {"coll": collection.name, "pipeline": expired}},
            {"$group": {"_id": "$_id", "count": {"$sum": "$count"}}},
        ]
        found = self._client.do(lambda: list(collection.aggregate(pipeline)), repeatable=True)
        return {
            State(one["_id"]): one["count"] for one in found if one["count"] > 0 and _is_state(one["_id"])
        }

    def ungroup(self, group: str) -> int:
        """Take the results of a group out of it."""
        collection = self._client.collection(Kind.RESULTS)
        wanted = {"group": group, **_present()}
        return self._client.do(
            lambda: collection.update_many(wanted, {"$unset": {"group": ""}})
        ).modified_count

    def prune(self, keep: int, per: Per | None = None) -> int:
        """Delete expired results and the oldest successes; return how many."""
        return pruning.prune(self._client, keep, per)

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def _insert(collection: Collection[Document], documents: list[Document]) -> list[bytes]:
    """Insert results; return the ids of those that exist already."""
    try:
        if len(documents) == 1:
            collection.insert_one(documents[0])
        else:
            collection.insert_many(documents, ordered=False)
    except DuplicateKeyError:
        return [documents[0]["_id"]]
    except BulkWriteError as exc:
        if not error_mapping.is_duplicate(exc):
            raise
        return [documents[error["index"]]["_id"] for error in (exc.details or {})["writeErrors"]]
    return []


def _replace(collection: Collection[Document], steps: list[ReplaceOne[Document]]) -> None:
    try:
        collection.bulk_write(steps, ordered=False)
    except BulkWriteError as exc:
        # a stored result of a higher state does not match, and stays
        if not error_mapping.is_duplicate(exc):
            raise


def _replacing(one: StoredResult) -> ReplaceOne[Document]:
    # what is not a state of a result, in a document of others, is replaced
    higher = [int(state) for state in State if state is State.SUCCESS or state > one.state]
    return ReplaceOne({"_id": one.id, "state": {"$not": {"$in": higher}}}, _document(one), upsert=True)


def _last(results: Sequence[StoredResult]) -> list[StoredResult]:
    """Return one result for each id, as if they were saved one by one."""
    left: dict[bytes, StoredResult] = {}
    for one in results:
        before = left.get(one.id)
        if before is None or (before.state is not State.SUCCESS and one.state >= before.state):
            left[one.id] = one
    return list(left.values())


def _document(one: StoredResult) -> Document:
    if len(one.body) > MAX_BYTES:
        raise PayloadTooLarge(
            f"the result of {one.name} has {len(one.body)} bytes; MongoDB accepts {MAX_BYTES}: return a"
            " reference instead of the data"
        )
    made: Document = {
        "_id": one.id,
        "state": int(one.state),
        "body": one.body,
        "name": one.name,
        "finished": one.finished,
    }
    if one.group is not None:
        made["group"] = one.group
    if one.label is not None:
        made["label"] = one.label
    if one.expires:
        made["expires"] = one.expires
        # the server removes it within a minute after this
        made["gone"] = datetime.fromtimestamp(max(0.0, min(one.expires, _FOREVER)), UTC)
    return made


#: epoch seconds of the last year of a datetime
_FOREVER: Final = 253_370_764_800.0


def _present() -> Document:
    """Return a filter for results that have not expired, by the clock of this process."""
    return {"$or": [{"gone": {"$exists": False}}, {"gone": {"$gt": datetime.now(UTC)}}]}


def _is_final(one: StoredResult | None) -> bool:
    return one is not None and one.state.final


def _is_state(value: object) -> bool:
    return isinstance(value, int) and value in State._value2member_map_


def _results(documents: Sequence[Document]) -> list[StoredResult]:
    """Return the results among documents; what others have written is left out."""
    found = []
    for one in documents:
        try:
            found.append(_read(one))
        except (TypeError, KeyError) as exc:
            _log.error("the result %r is ignored, it is not one of qcore: %s", one["_id"], exc)
    return found


def _read(one: Document) -> StoredResult:
    texts = (one["name"], one.get("group") or "", one.get("label") or "")
    sound = isinstance(one["_id"], bytes) and isinstance(one["body"], bytes) and _is_state(one["state"])
    if not (sound and all(isinstance(text, str) for text in texts)):
        raise TypeError("a field has a wrong type")
    return StoredResult(
        one["_id"],
        State(one["state"]),
        one["body"],
        one["name"],
        one.get("group"),
        epoch_seconds(one.get("finished")),
        epoch_seconds(one.get("expires")),
        one.get("label"),
    )
