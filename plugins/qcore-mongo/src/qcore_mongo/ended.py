"""Which messages have ended, so that a copy is recognised."""

from __future__ import annotations

import os
import random
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final, Self

import attrs
from pymongo import DESCENDING, UpdateOne, WriteConcern

from qcore.model import Action
from qcore_mongo.conditions import later, number
from qcore_mongo.indexes import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qcore.interfaces import Settings
    from qcore.model import Settlement
    from qcore_mongo.client import Client, Document

# Ids that were acknowledged together and begin with the same time are a document among the notes:
#   _id      `ended:<the highest id>:<random>`, hex digits
#   ids      one behind the other; `number` of them
#   at       when they were acknowledged
#   until    when the server may remove it

#: ids begin with their time in milliseconds; those of a document share so many bytes, a quarter of a second
_BUCKET: Final = 5
_ID: Final = 16
_PREFIX: Final = "ended:"
_ALL: Final[Document] = {"_id": {"$gte": _PREFIX, "$lt": "ended;"}}
_LIVES: Final[Document] = {"$expr": {"$gt": ["$until", "$$NOW"]}}
#: the part of the limit that is remembered beyond it, about, until the oldest are removed
_SURPLUS: Final = 0.1
#: The deletion of the messages was confirmed by a majority. An id that is lost with a primary is only one
#: whose copy would run.
_CONCERN: Final = WriteConcern(w=1)


@attrs.frozen(kw_only=True)
class Ended:
    """The ids of acknowledged messages.

    In a queue in good order every leased message is newer than all that have ended, and then one
    comparison with the highest id tells that none of a batch has. What is older is looked for.
    """

    client: Client
    #: seconds
    window: float
    limit: int

    @classmethod
    def where_wanted(cls, client: Client, settings: Settings) -> Self | None:
        """Return it, or None if the user has not asked for it: it takes two more requests a batch."""
        window = settings.replay_window if settings.replay_is_set else 0.0
        return cls(client=client, window=window, limit=settings.replay_limit) if window else None

    def add(self, settlements: Sequence[Settlement]) -> None:
        """Remember the messages that these settlements have just acknowledged."""
        ids = [one.id for one in settlements if one.id and one.action is Action.ACK]
        if not ids:
            return
        notes = self.client.collection(Kind.NOTES).with_options(write_concern=_CONCERN)
        # of the same names in a repetition
        steps = [self._document(group) for _, group in _by_bucket(ids)]
        self.client.do(lambda: notes.bulk_write(steps, ordered=False), repeatable=True)
        # by chance, because a worker may be replaced long before it has ended so many
        if random.random() * self.limit * _SURPLUS < len(ids):  # noqa: S311 - not used for a secret
            self._trim()

    def find(self, ids: Sequence[bytes]) -> Collection[bytes]:
        """Return those of these ids that have ended."""
        notes = self.client.collection(Kind.NOTES)
        highest = self.client.read(notes.find(_ALL, {"_id": 1}).sort("_id", DESCENDING).limit(1))
        suspects = [id_ for id_ in ids if highest and _name(id_) <= highest[0]["_id"]]
        if not suspects:
            return ()
        ranges = [
            {"_id": {"$gte": _name(group[0]), "$lt": f"{_name(bucket)}g"}}
            for bucket, group in _by_bucket(suspects)
        ]
        ended: set[bytes] = set()
        for one in self.client.read(notes.find({"$or": ranges, **_LIVES}, {"ids": 1})):
            # a value of another type was not written here
            if isinstance(blob := one.get("ids"), bytes):
                ended.update(blob[at : at + _ID] for at in range(0, len(blob), _ID))
        return ended.intersection(suspects)

    def _document(self, group: list[bytes]) -> UpdateOne:
        fields = {"ids": b"".join(group), "number": len(group), "at": "$$NOW", "until": later(self.window)}
        return UpdateOne(
            {"_id": f"{_name(group[-1])}:{os.urandom(6).hex()}"}, [{"$set": fields}], upsert=True
        )

    def _trim(self) -> None:
        """Remove what is older than the last ids up to the limit."""
        notes = self.client.collection(Kind.NOTES).with_options(write_concern=_CONCERN)
        window = {"documents": ["unbounded", "current"]}
        total = {"upto": {"$sum": number("$number"), "window": window}}
        oldest: list[Document] = [
            {"$match": _ALL},
            {"$project": {"at": 1, "number": 1}},
            {"$setWindowFields": {"sortBy": {"at": -1}, "output": total}},
            {"$match": {"upto": {"$gte": self.limit}}},
            {"$limit": 1},
        ]
        for one in self.client.do(lambda: list(notes.aggregate(oldest, allowDiskUse=True)), repeatable=True):
            if isinstance(at := one.get("at"), datetime):
                older = {**_ALL, "at": {"$lt": at}}
                self.client.do(lambda: notes.delete_many(older), repeatable=True)  # noqa: B023 - used at once


def _name(id: bytes) -> str:
    """Return the beginning of the name under which an id, or the beginning of one, is looked for."""
    return _PREFIX + id.hex()


def _by_bucket(ids: Sequence[bytes]) -> list[tuple[bytes, list[bytes]]]:
    """Return the ids in order, by the first bytes."""
    return [(key, list(group)) for key, group in groupby(sorted(ids), lambda id_: id_[:_BUCKET])]
