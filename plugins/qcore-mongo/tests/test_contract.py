"""Broker, results and schedules keep to qcore's interfaces, alone and as a replica set."""

from __future__ import annotations

import itertools
import math
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest
from bson import ObjectId

from qcore.interfaces import Settings
from qcore_mongo import MongoBroker, MongoCoordination, MongoResults, MongoSchedules, MongoSettings
from qcore_mongo.client import Client
from qcore_testing import (
    BrokerContract,
    CommitContract,
    CoordinationStoreContract,
    FireContract,
    ResultStoreContract,
    ScheduleStoreContract,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.coordination import CoordinationStore
    from qcore_testing.contract import Outage


PAST: Final = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE: Final = datetime(2100, 1, 1, tzinfo=UTC)

#: what the server does does not depend on the interpreter: on the oldest Python only
pytestmark = pytest.mark.slow


class _Fresh:
    """A connection to a database that is empty in each test, with no more rights than the page names.

    Its collections are kept: to create them with their indexes takes longer than most tests.
    """

    #: (server, queue) -> its table `mongo`
    _tables: ClassVar[dict[tuple[str, str], dict[str, Any]]] = {}

    #: the further server is one without users
    @pytest.fixture(params=[pytest.param("alone", marks=pytest.mark.further), "locked"])
    def place(self, request: pytest.FixtureRequest) -> Any:
        """Return the server."""
        return request.getfixturevalue(request.param)

    @pytest.fixture
    def database(self) -> str:
        """Return the database of all tests of this process."""
        return f"contract_{os.getpid()}"

    @pytest.fixture
    def short(self) -> dict[str, int]:
        """Return settings of time limits, none unless a test asks for them."""
        return {}

    @pytest.fixture
    def settings(self, place: Any, short: dict[str, int], database: str) -> Iterator[Callable[..., Settings]]:
        """Return a maker of settings of one queue."""

        def make(name: str = "kit", **fields: Any) -> Settings:
            key = (place.nodes[0].address, name)
            if key not in self._tables:
                self._tables[key] = place.allow(database, name) if place.locked else place.settings
            sections = {"mongo": MongoSettings(**self._tables[key], **short), "mongo_db": database}
            return Settings(name=name, sections=sections, **fields)

        yield make
        there = place.kept_client()[database]
        for name in there.list_collection_names():
            there[name].delete_many({})

    @pytest.fixture
    def insert(self, place: Any, database: str) -> Callable[..., None]:
        """Return a function that inserts a document past the plugin."""

        def insert(kind: str, document: dict[str, Any]) -> None:
            there = place.kept_client()[database]
            there[f"qcore.kit.{kind}"].insert_one({"_id": os.urandom(16), **document})

        return insert

    @pytest.fixture
    def short_timeout(self, place: Any, short: dict[str, int]) -> Any:
        """Return the server; brokers wait for its answers a shorter time than users' do."""
        short.update(socketTimeoutMS=2000, connectTimeoutMS=2000, serverSelectionTimeoutMS=1000)
        return place.nodes[0]

    @pytest.fixture
    def restart_server(self, short_timeout: Any) -> Outage:
        """Return what kills the server for a while."""
        found: Outage = short_timeout.away
        return found

    @pytest.fixture
    def freeze_server(self, short_timeout: Any) -> Outage:
        """Return what stops the server for a while."""
        found: Outage = short_timeout.frozen
        return found


class TestMongoBroker(_Fresh, BrokerContract):
    """MongoBroker keeps to Broker."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., MongoBroker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: MongoBroker(settings(**fields))

    @pytest.fixture
    def put_raw(self, insert: Callable[..., None]) -> Callable[[bytes], None]:
        """Return a function that inserts a document with little of what ours have."""
        return lambda body: insert("messages", {"at": PAST, "seq": ObjectId(), "body": body})


class TestMongoResults(_Fresh, ResultStoreContract):
    """MongoResults keeps to ResultStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., MongoResults]:
        """Return a maker of stores of the same results."""
        return lambda **fields: MongoResults(settings(**fields))

    @pytest.fixture
    def put_junk(self, insert: Callable[..., None]) -> Callable[[bytes, str], None]:
        """Return a function that inserts documents with fields of other types than ours."""

        def put(id_: bytes, group: str) -> None:
            for name in (id_, "a text", 7):
                insert(
                    "results", {"_id": name, "group": group, "state": "done", "finished": "never", "body": 5}
                )

        return put


class TestMongoExchange(_Fresh, CommitContract):
    """Broker and store of one queue keep their order."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[MongoBroker, MongoResults]]:
        """Return a maker of pairs."""
        return lambda **fields: (MongoBroker(settings(**fields)), MongoResults(settings(**fields)))


class TestMongoCoordination(_Fresh, CoordinationStoreContract):
    """MongoCoordination keeps to CoordinationStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., CoordinationStore]:
        """Return a maker of stores of the same state."""
        return lambda **fields: MongoCoordination(Client(settings(**fields)))

    @pytest.fixture
    def put_junk(self, insert: Callable[..., None]) -> Callable[[str], None]:
        """Return a function that inserts documents with fields of other types than ours."""
        values = itertools.cycle(["never", math.inf, PAST, [1, "x"]])

        def put(key: str) -> None:
            value = next(values)
            taken = [5, {"holder": b"holder", "until": value}, {"holder": "x", "until": PAST}]
            insert("notes", {"_id": f"flag:{key}", "until": value, "value": 5})
            insert("notes", {"_id": f"permits:{key}", "until": value, "permits": taken, "last": value})
            insert("notes", {"_id": f"rate:{key}", "until": value, "last": value, "holder": 5, "left": value})
            insert("notes", {"_id": {"rate": key, "holder": b"holder"}, "at": value, "until": FUTURE})
            insert("notes", {"_id": f"barrier:{key}", "until": value, "members": value, "run": 5})

        return put


class TestMongoSchedules(_Fresh, ScheduleStoreContract):
    """MongoSchedules keeps to Scheduler."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., MongoSchedules]:
        """Return a maker of stores of the same schedules."""
        return lambda **fields: MongoSchedules(settings(**fields))

    @pytest.fixture
    def put_junk(self, insert: Callable[..., None]) -> Callable[[str], None]:
        """Return a function that inserts documents with fields of other types than ours."""

        def put(name: str) -> None:
            for id_ in (name, 7, b"\xff"):
                insert(
                    "schedules", {"_id": id_, "fires": True, "next": 1.0, "schedule": 5, "claimed_until": "x"}
                )

        return put


class TestMongoFire(_Fresh, FireContract):
    """A slot's messages and its schedule are written together."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[MongoBroker, MongoSchedules]]:
        """Return a maker of pairs."""
        return lambda **fields: (MongoBroker(settings(**fields)), MongoSchedules(settings(**fields)))
