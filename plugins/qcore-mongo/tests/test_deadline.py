"""A server that answers a byte at a time does not hold a call."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendUnavailable
from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_mongo import MongoBroker, MongoSettings
from qcore_testing.server_line import ServerLine, in_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Land


@pytest.fixture
def line(replicated: Land) -> Iterator[ServerLine]:
    """Return a line to a server."""
    made = ServerLine(("127.0.0.1", replicated.nodes[0].port))
    yield made
    made.close()


@pytest.fixture
def by(line: ServerLine, database: str) -> Iterator[Callable[..., MongoBroker]]:
    """Return a maker of brokers that speak by the line."""
    made: list[MongoBroker] = []

    def make(**fields: Any) -> MongoBroker:
        section = MongoSettings(host="127.0.0.1", port=line.port, directConnection=True, **fields)
        made.append(MongoBroker(Settings(name="drip", sections={"mongo": section, "mongo_db": database})))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.mark.parametrize("key", ["timeoutMS", "socketTimeoutMS"])
def test_an_answer_that_drips_is_given_up_in_time(
    by: Callable[..., MongoBroker], line: ServerLine, key: str
) -> None:
    """The limit is for a request and its repetition together, and does not start anew with each byte."""
    broker = by(**{key: 1000})
    in_time(lambda: broker.enqueue([Outgoing(os.urandom(16), b"first")]))

    with line.dripping():
        since = time.monotonic()
        with pytest.raises(BackendUnavailable, match="does not answer"):
            broker.size()
        # whole it would be here after ten seconds
        assert 0.9 < time.monotonic() - since < 10


def test_a_call_of_several_requests_has_one_limit(by: Callable[..., MongoBroker], line: ServerLine) -> None:
    """Each request would be answered in time, and all of them together are not."""
    broker = by(timeoutMS=1000)
    in_time(lambda: broker.enqueue([Outgoing(os.urandom(16), b"first")]))

    with line.late(0.75), pytest.raises(BackendUnavailable, match="does not answer"):
        broker.purge()


def test_a_wait_in_the_server_is_not_cut_short(by: Callable[..., MongoBroker]) -> None:
    """The limit is for what a call takes beyond the time it asks the server to wait."""
    broker = by(timeoutMS=1000)
    in_time(broker.size)
    since = time.monotonic()

    assert broker.lease(1, 1.5) == []

    assert time.monotonic() - since >= 1.5
