"""Queues and priorities of IronMQ are physical queues that the user declares."""

from __future__ import annotations

import itertools
import os
import string
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.errors import ConfigError, NotSupported, QueueMissing
from qcore.interfaces import Settings
from qcore.model import Action, Settlement
from qcore_ironmq import IronBroker, IronSettings
from qcore_ironmq.several import broker_of, queue_of
from qcore_queues.order import QueueOrder
from qcore_queues.routes import Route
from qcore_testing.broker.base import acks, bodies, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.interfaces import Broker

    from .conftest import Server

_numbers = itertools.count()
NAMES = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=80)
QUEUES = st.text(string.ascii_letters + string.digits + "_.-", max_size=64).filter("default".__ne__)
ROUTES = st.tuples(NAMES, st.builds(Route, QUEUES, st.sampled_from([-1, 0, 1])))
DEAD = ".dead_letters"


@pytest.fixture
def new(ironmq: Server) -> Iterator[Callable[..., Broker]]:
    """Return what makes brokers of one name."""
    name = f"several-{os.getpid()}-{next(_numbers)}"
    made: list[Broker] = []

    def make(order: list[str] | None = None, *, create: bool = True, **fields: Any) -> Broker:
        settings = Settings(
            name=name,
            create=create,
            poll=1.0,
            queues=None if order is None else QueueOrder(order),
            sections={"iron_mq": IronSettings(**ironmq.settings, **fields)},
        )
        made.append(broker_of(settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@given(ROUTES, ROUTES)
def test_two_routes_never_meet(one: tuple[str, Route], other: tuple[str, Route]) -> None:
    """Names of queues and of their dead letters are those of one name, queue and band alone."""
    names = [queue_of(*each) for each in (one, other)]

    assert (names[0] == names[1]) is (one == other)
    # a configuration's name that ends so is refused
    assert names[0] + DEAD != names[1] or other[0].endswith(DEAD)


def test_the_requests_are_those_of_before(ironmq: Server, new: Callable[..., Broker]) -> None:
    """Who declares no queues makes no request more; nor does a producer of the default queue."""
    plain = new()
    assert type(plain) is IronBroker
    # the first message makes the queue
    plain.enqueue([message(b"first")])
    plain.settle(acks(plain.lease(1, 0.0)))
    asked = []
    for fields in ({}, {"queues": ["mail"], "priorities": True}):
        broker, before = new(**fields), ironmq.requests()
        broker.enqueue([message(b"one"), message(b"two")])
        broker.settle(acks(new().lease(2, 0.0)))
        asked.append(ironmq.requests() - before)
    assert asked[0] == asked[1]


def test_a_waiting_worker_looks_at_each_queue(ironmq: Server, new: Callable[..., Broker]) -> None:
    """One request waits at the first queue for `poll` seconds, rounded up; then the others are looked at."""
    broker = new(["default", "mail"], queues=["mail"])
    broker.lease(1, 0.0)
    before = ironmq.requests()

    assert not broker.lease(1, 1.5)

    # two looks, a second at the first, a look at the other, a second at the first, a look at the other
    assert ironmq.requests() - before == 6
    assert not broker.capabilities.long_poll
    assert new(["mail"], queues=["mail"]).capabilities.long_poll


def test_the_default_queue_is_that_of_before(new: Callable[..., Broker]) -> None:
    """What was enqueued, leased or dead-lettered before queues were declared is found, and the other way."""
    plain = new()
    plain.enqueue([message(b"leased"), message(b"dead")])
    leased, dead = plain.lease(2, 0.0)
    plain.settle([Settlement(dead.receipt, Action.DEAD_LETTER, reason="no")])
    declared = new(queues=["mail"], priorities=True)

    declared.settle([Settlement(leased.receipt, Action.RELEASE)])
    assert bodies(declared.lease(5, 0.0)) == [b"leased"]
    (letter,) = declared.dead_letters()
    assert declared.requeue([letter.id]) == 1
    assert bodies(plain.lease(5, 0.0)) == [b"dead"]


def test_a_queue_that_is_not_declared_is_refused(new: Callable[..., Broker]) -> None:
    """One error names the setting."""
    rule = r"iron_mq\.queues declares default, mail; add it there"
    with pytest.raises(NotSupported, match=f"queue='nail': {rule}"):
        new(queues=["mail"]).enqueue([message(b"wrong", queue="nail")])
    with pytest.raises(NotSupported, match=r"priority=5: iron_mq\.priorities is false"):
        new(queues=["mail"]).enqueue([message(b"wrong", priority=5)])
    with pytest.raises(ConfigError, match=f"queues: got 'nail'; {rule}"):
        new(["nail"], queues=["mail"])
    with pytest.raises(ValueError, match="a name in queues must be 1 to 64 letters"):
        IronSettings(queues=["a b"])


def test_queues_are_looked_for_without_making_any(new: Callable[..., Broker]) -> None:
    """A command that makes no queue says so if none is there, and counts those that are."""
    with pytest.raises(QueueMissing, match="there is no queue"):
        new(create=False, queues=["mail"])
    new(queues=["mail"]).enqueue([message(b"one", queue="mail")])

    looking = new(create=False, queues=["mail"])

    assert [(one.name, one.size.ready) for one in looking.queues()] == [("", 0), ("mail", 1)]
