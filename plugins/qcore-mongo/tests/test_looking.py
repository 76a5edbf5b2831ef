"""Who only looks creates no collection and no index."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from qcore.errors import QueueMissing
from qcore.interfaces import Settings
from qcore.model import Outgoing, State, StoredResult
from qcore_mongo import MongoBroker, MongoResults, MongoSchedules, MongoSettings
from qcore_mongo.client import Client
from qcore_mongo.coordination import MongoCoordination
from qcore_testing.looking import LOOKS, check_looking_creates_nothing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pymongo.database import Database

    from .conftest import Land


def settings_of(land: Land, database: str, **fields: Any) -> Settings:
    """Return the settings of a queue."""
    section = MongoSettings(**land.settings)
    return Settings(name="look", sections={"mongo": section, "mongo_db": database}, **fields)


@pytest.mark.parametrize(
    "make",
    [MongoBroker, MongoResults, MongoSchedules, lambda settings: MongoCoordination(Client(settings))],
    ids=["broker", "results", "schedules", "coordination"],
)
def test_a_missing_queue_is_an_error_and_is_not_created(
    replicated: Land, database: str, look: Callable[..., Database[Any]], make: Callable[[Settings], Any]
) -> None:
    """Whatever of it is asked; a process of a cluster makes its own."""
    settings = settings_of(replicated, database, create=False)

    with pytest.raises(QueueMissing, match="there is no queue 'look' in mongodb at"):
        make(settings)
    made = make(attrs.evolve(settings, owner=b"a worker"))

    assert look(replicated).list_collection_names() == []
    made.close()


def test_looking_at_a_queue_creates_nothing_in_it(
    replicated: Land, database: str, look: Callable[..., Database[Any]]
) -> None:
    """What is read and not there yet is empty, and gets its indexes once it is written."""
    writer = MongoBroker(settings_of(replicated, database))
    writer.enqueue([Outgoing(os.urandom(16), b"one")])
    before = look(replicated).list_collection_names()
    settings = settings_of(replicated, database, create=False)
    broker, results, schedules = MongoBroker(settings), MongoResults(settings), MongoSchedules(settings)
    coordination = MongoCoordination(Client(settings))

    assert broker.size().ready == 1
    assert list(broker.dead_letters()) == list(broker.statuses()) == []
    assert results.get([bytes(16)]) == [None]
    assert list(results.recent()) == list(results.group("one")) == []
    assert list(schedules.all()) == []
    assert list(coordination.get_flags(["a flag"])) == [None]
    assert look(replicated).list_collection_names() == before

    results.save([StoredResult(bytes(16), State.SUCCESS, b"", "a.task", None, time.time())])
    assert len(results.recent()) == 1
    assert len(list(look(replicated)["qcore.look.results"].list_indexes())) == 4
    for one in (writer, broker, results, schedules, coordination):
        one.close()


@pytest.mark.parametrize("command", LOOKS)
def test_a_look_at_a_misspelt_name_creates_nothing(
    replicated: Land, database: str, look: Callable[..., Database[Any]], command: str, tmp_path: Path
) -> None:
    """Whatever the command, the backend holds what it held."""
    check_looking_creates_nothing(
        command,
        {"mongo": replicated.settings, "mongo_db": database},
        look(replicated).list_collection_names,
        tmp_path,
    )
