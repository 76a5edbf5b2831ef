"""Queues and priorities of Disque are physical queues that the user declares."""

from __future__ import annotations

import itertools
import os
import string
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.errors import ConfigError, NotSupported
from qcore.interfaces import Settings
from qcore.model import Action, Settlement
from qcore_disque import DisqueBroker
from qcore_disque.dead_letters import dead_letters_of
from qcore_disque.several import DisqueQueues, broker_of, queue_of
from qcore_queues.order import QueueOrder
from qcore_queues.routes import Route
from qcore_testing.broker.base import acks, bodies, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.interfaces import Broker

    from .conftest import Server

_numbers = itertools.count()
NAMES = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=80)
QUEUES = st.text(string.ascii_letters + string.digits + "_.-", max_size=64).filter(
    lambda name: name != "default"
)
ROUTES = st.tuples(NAMES, st.builds(Route, QUEUES, st.sampled_from([-1, 0, 1])))


@pytest.fixture
def new(disque: Server) -> Iterator[Callable[..., Broker]]:
    """Return what makes brokers of one name."""
    name = f"several-{os.getpid()}-{next(_numbers)}"
    made: list[Broker] = []

    def make(order: list[str] | None = None, **sections: Any) -> Broker:
        settings = Settings(
            name=name,
            queues=None if order is None else QueueOrder(order),
            sections={"disque_nodes": [disque.node]}
            | {f"disque_{key}": each for key, each in sections.items()},
        )
        made.append(broker_of(settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@given(ROUTES, ROUTES)
def test_two_routes_never_meet(one: tuple[str, Route], other: tuple[str, Route]) -> None:
    """Names of queues and of their dead letters are those of one name, queue and band alone."""
    names = [queue_of(*each).encode() for each in (one, other)]
    assert (names[0] == names[1]) is (one == other)
    if not one[0].endswith(":dead-letters") and not other[0].endswith(":dead-letters"):
        assert dead_letters_of(names[0]) != names[1]


def test_a_batch_is_of_the_first_queue_that_has_any(new: Callable[..., Broker]) -> None:
    """Disque hands out one of each in turn, which would mix later work into a batch."""
    broker = new(queues=["mail"], priorities=True)
    for number in range(3):
        for name, priority in (("low", -1), ("high", 1)):
            broker.enqueue([message(b"%s%d" % (name.encode(), number), queue="mail", priority=priority)])

    assert bodies(broker.lease(3, 0)) == [b"high0", b"high1", b"high2"]
    assert bodies(broker.lease(9, 0)) == [b"low0", b"low1", b"low2"]


def test_without_a_declaration_nothing_is_asked_but_before(
    disque: Server, new: Callable[..., Broker]
) -> None:
    """Who declares no queues has the broker of one queue; those who do ask once more for each batch."""
    plain, declared = new(), new(queues=["mail"], priorities=True)
    assert type(plain) is DisqueBroker
    assert not plain.capabilities.queues
    assert type(declared) is DisqueQueues
    asked = []
    for broker in (plain, declared):
        broker.ping()
        before = disque.ask("DEBUG", "ASKED")
        broker.enqueue([message(b"one"), message(b"two")])
        leased = broker.lease(2, 0.0)
        broker.settle(acks(leased))
        broker.lease(1, 0.0)
        asked.append(disque.ask("DEBUG", "ASKED") - before)
    assert asked[0] + 1 == asked[1]


def test_the_default_queue_is_that_of_before(new: Callable[..., Broker]) -> None:
    """What was enqueued, leased or dead-lettered before queues were declared is found, and the other way."""
    plain = new()
    plain.enqueue([message(b"waiting"), message(b"leased"), message(b"dead")])
    waiting, leased, dead = plain.lease(3, 0.0)
    plain.settle(
        [
            Settlement(waiting.receipt, Action.RELEASE),
            Settlement(dead.receipt, Action.DEAD_LETTER, reason="no"),
        ]
    )

    declared = new(queues=["mail"], priorities=True)

    assert bodies(declared.lease(5, 0.0)) == [b"waiting"]
    declared.settle(acks([leased]))
    (letter,) = declared.dead_letters()
    assert declared.requeue([letter.id]) == 1
    assert bodies(plain.lease(5, 0.0)) == [b"dead"]


def test_a_queue_that_is_not_declared_is_refused(new: Callable[..., Broker]) -> None:
    """One error names the setting: for a message, a priority, a call, and the queues of a cluster."""
    broker = new(queues=["mail"])
    rule = "disque_queues declares default, mail; add it there, for producers and clusters alike"
    with pytest.raises(NotSupported, match=f"queue='nail': {rule}"):
        broker.enqueue([message(b"fine", queue="mail"), message(b"wrong", queue="nail")])
    with pytest.raises(NotSupported, match=f"queue='nail': {rule}"):
        broker.purge_queue("nail")
    with pytest.raises(NotSupported, match="priority=5: disque_priorities is false; set it"):
        broker.enqueue([message(b"wrong", priority=5)])
    with pytest.raises(ConfigError, match=f"queues: got 'nail'; {rule}"):
        new(["mail", "nail"], queues=["mail"])
    assert broker.size().ready == 0
    assert broker.capabilities.priorities == 1


@pytest.mark.parametrize(
    ("queues", "why"),
    [
        (["a b"], "a name in queues must be 1 to 64 letters"),
        ([3], "a name in queues must be a text"),
        (["mail", "mail"], "queues has 'mail' twice"),
    ],
)
def test_a_wrong_declaration_is_refused(queues: list[Any], why: str, new: Callable[..., Broker]) -> None:
    """At the start, with the name of the setting."""
    with pytest.raises(ConfigError, match=f"disque_queues: {why}"):
        new(queues=queues)


def test_receipts_and_letters_say_of_which_queue_they_are(new: Callable[..., Broker]) -> None:
    """Another connection settles, extends, requeues; what has no such word is the default queue's."""
    broker, other = (new(queues=["mail"], priorities=True) for _ in range(2))
    broker.enqueue([message(b"%d" % each, queue="mail", priority=each) for each in (0, 1, -1)])
    leased = [one for _ in range(3) for one in broker.lease(1, 0.0)]
    assert [one.receipt.partition(b"@")[0] for one in leased] == [b"mail:high", b"mail", b"mail:low"]

    other.extend([*(one.receipt for one in leased), b"mail@", b"nail@", b"@"], 60.0)
    other.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="no") for one in leased])

    ids = [letter.id for letter in other.dead_letters()]
    assert sorted(id_.partition("@")[0] for id_ in ids) == ["mail", "mail:high", "mail:low"]
    assert broker.requeue(["mail@none", "none", *ids]) == 3
    assert [body for _ in range(3) for body in bodies(other.lease(1, 0.0))] == [b"1", b"0", b"-1"]
