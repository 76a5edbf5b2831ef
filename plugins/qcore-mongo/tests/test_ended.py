"""What is remembered of ended messages is bounded, by number and by time."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from qcore.interfaces import Settings
from qcore.model import Settlement
from qcore_mongo import MongoBroker, MongoSettings
from qcore_mongo.indexes import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

TIMEOUT: Final = 100.0


@pytest.fixture
def make(replicated: Any, database: str) -> Iterator[Callable[..., MongoBroker]]:
    """Return a maker of brokers of one queue."""
    made: list[MongoBroker] = []

    def make(**fields: Any) -> MongoBroker:
        sections = {"mongo": MongoSettings(**replicated.settings), "mongo_db": database}
        made.append(MongoBroker(Settings(name="q", sections=sections, **fields)))
        return made[-1]

    yield make
    for one in made:
        one.close()
    with replicated.client() as client:
        client.drop_database(database)


def id_of(number: int) -> bytes:
    """Return an id that begins with its time, each in another quarter of a second."""
    return (1_700_000_000_000 + number * 300).to_bytes(6, "big") + os.urandom(10)


def end(broker: MongoBroker, *ids: bytes) -> None:
    """Acknowledge messages whose lease has ended."""
    broker.settle([Settlement(bytes(28), id=id_) for id_ in ids])


def test_the_oldest_are_forgotten(
    make: Callable[..., MongoBroker], replicated: Any, look: Callable[..., Any]
) -> None:
    """Beyond `replay_limit`, about a tenth more are kept; the last ones always."""
    broker = make(replay_window=600.0, replay_limit=50)
    notes = look(replicated)[Kind.NOTES.collection("q")]
    ids = [id_of(number) for number in range(200)]
    for at in range(0, 200, 5):
        end(broker, *ids[at : at + 5])

    deadline = time.monotonic() + TIMEOUT
    while notes.count_documents({}) > 60:
        assert time.monotonic() < deadline, "the oldest are still there"
        ids.append(id_of(len(ids)))
        end(broker, ids[-1])

    assert broker.ended(ids[:100]) == set()
    assert set(broker.ended(ids)) >= set(ids[-50:])


def test_it_is_left_out_unless_asked_for(
    make: Callable[..., MongoBroker], replicated: Any, look: Callable[..., Any]
) -> None:
    """It takes two more requests a batch, so the window that is the default does not count."""
    broker = make(replay_window=600.0, replay_is_set=False)
    end(broker, id_of(1))

    assert not broker.capabilities.remembers_ended
    assert broker.ended([id_of(1)]) == ()
    assert look(replicated)[Kind.NOTES.collection("q")].count_documents({}) == 0


def test_the_server_removes_what_is_past_the_window(
    make: Callable[..., MongoBroker], replicated: Any, look: Callable[..., Any]
) -> None:
    """An id that is past the window is not found, and its document does not stay."""
    broker = make(replay_window=0.5)
    notes = look(replicated)[Kind.NOTES.collection("q")]
    end(broker, id_of(1), id_of(2))

    deadline = time.monotonic() + TIMEOUT
    while broker.ended([id_of(1)]) or notes.count_documents({}):
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.05)


def test_a_queue_in_good_order_is_asked_once(
    make: Callable[..., MongoBroker], replicated: Any, look: Callable[..., Any]
) -> None:
    """The ids of newer messages are compared with the highest; none of the others is read."""
    broker = make(replay_window=600.0)
    end(broker, *(id_of(number) for number in range(100)))
    look(replicated)[Kind.NOTES.collection("q")].update_many({}, {"$set": {"ids": "not read"}})

    assert broker.ended([id_of(number) for number in range(100, 110)]) == ()
    assert broker.ended([id_of(5)]) == set()
