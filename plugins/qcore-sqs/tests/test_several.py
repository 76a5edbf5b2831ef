"""Queues and priorities of SQS are physical queues that the user declares."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.errors import ConfigError, NotSupported, QueueMissing
from qcore.interfaces import Settings
from qcore.model import Action, Settlement
from qcore_queues.order import QueueOrder
from qcore_queues.routes import Route
from qcore_sqs import SqsBroker, SqsSettings
from qcore_sqs.checks import check
from qcore_sqs.queues import Queues
from qcore_sqs.several import broker_of, settings_of
from qcore_testing.broker.base import acks, bodies, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.interfaces import Broker

    from .conftest import Sqs

NAMES = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=80)
QUEUES = st.text(string.ascii_letters + string.digits + "_.-", max_size=64).filter(
    lambda one: one != "default"
)
ROUTES = st.tuples(NAMES, st.builds(Route, QUEUES, st.sampled_from([-1, 0, 1])), st.booleans())


@pytest.fixture
def new(section: Callable[..., SqsSettings]) -> Iterator[Callable[..., Broker]]:
    """Return what makes brokers of one name."""
    made: list[Broker] = []

    def make(order: list[str] | None = None, *, create: bool = True, **fields: Any) -> Broker:
        settings = Settings(
            name="mail",
            create=create,
            poll=1.0,
            queues=None if order is None else QueueOrder(order),
            sections={"sqs": section(**fields)},
        )
        made.append(broker_of(settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def names_of(name: str, route: Route, *, fifo: bool) -> set[str]:
    """Return the names of a queue and of its dead letters at SQS."""
    section = SqsSettings(fifo=fifo, queues=["mail"], aws_region="eu-west-1")
    queues = Queues(settings_of(Settings(name=name, sections={"sqs": section}), route))
    return {queues.name, queues.dead_letters_name}


@given(ROUTES, ROUTES)
def test_two_routes_never_meet(one: tuple[str, Route, bool], other: tuple[str, Route, bool]) -> None:
    """Names of queues and of their dead letters are those of one name, queue and band alone."""
    names = [names_of(name, route, fifo=fifo) for name, route, fifo in (one, other)]

    assert all(len(name) <= 80 for pair in names for name in pair)
    assert (names[0] == names[1]) is (one == other)
    assert one == other or not names[0] & names[1]


def test_the_requests_are_those_of_before(sqs: Sqs, new: Callable[..., Broker]) -> None:
    """Who declares no queues makes no request more; nor does a producer of the default queue."""
    asked = []
    for fields in ({}, {"queues": ["reports"], "priorities": True}):
        before = sqs.asked()
        broker = new(**fields)
        broker.enqueue([message(b"one"), message(b"two")])
        asked.append({what: count - before.get(what, 0) for what, count in sqs.asked().items()})
        broker.settle(acks([*new().lease(10, 0.0)]))
        sqs.reset()
    assert type(new()) is SqsBroker
    assert asked[0] == asked[1]


def test_a_lease_asks_until_a_queue_has_something(sqs: Sqs, new: Callable[..., Broker]) -> None:
    """One request for each queue that is empty, the highest band first."""
    broker = new(["reports", "default"], queues=["reports"], priorities=True)
    broker.lease(1, 0.0)
    for sent, looks in ((message(b"1", queue="reports", priority=5), 1), (message(b"2", priority=-1), 6)):
        broker.enqueue([sent])
        before = sqs.asked().get("ReceiveMessage", 0)
        assert bodies(broker.lease(1, 0.0)) == [sent.body]
        assert sqs.asked()["ReceiveMessage"] - before == looks


def test_a_waiting_worker_looks_at_each_queue(sqs: Sqs, new: Callable[..., Broker]) -> None:
    """One request waits at the first queue for `poll` seconds, rounded up; then the others are looked at."""
    broker = new(["default", "reports"], queues=["reports"])
    broker.lease(1, 0.0)
    before = sqs.asked()["ReceiveMessage"]

    assert not broker.lease(1, 1.5)

    # two looks, a second at the first, a look at the other, a second at the first, a look at the other
    assert sqs.asked()["ReceiveMessage"] - before == 6
    assert not broker.capabilities.long_poll
    assert new(["reports"], queues=["reports"]).capabilities.long_poll


def test_the_default_queue_is_that_of_before(new: Callable[..., Broker]) -> None:
    """What was enqueued, leased or dead-lettered before queues were declared is found, and the other way."""
    plain = new()
    plain.enqueue([message(b"leased"), message(b"dead")])
    leased, dead = plain.lease(2, 0.0)
    plain.settle([Settlement(dead.receipt, Action.DEAD_LETTER, reason="no")])
    declared = new(queues=["reports"], priorities=True)

    declared.settle([Settlement(leased.receipt, Action.RELEASE)])
    assert bodies(declared.lease(5, 0.0)) == [b"leased"]
    (letter,) = declared.dead_letters()
    assert declared.requeue([letter.id]) == 1
    assert bodies(plain.lease(5, 0.0)) == [b"dead"]


def test_a_queue_that_is_not_declared_is_refused(new: Callable[..., Broker]) -> None:
    """One error names the setting."""
    rule = "sqs.queues declares default, reports; add it there"
    with pytest.raises(NotSupported, match=f"queue='nail': {rule}"):
        new(queues=["reports"]).enqueue([message(b"wrong", queue="nail")])
    with pytest.raises(NotSupported, match=r"priority=5: sqs\.priorities is false"):
        new(queues=["reports"]).enqueue([message(b"wrong", priority=5)])
    with pytest.raises(ConfigError, match=f"queues: got 'nail'; {rule}"):
        new(["nail"], queues=["reports"])
    with pytest.raises(ValueError, match="a name in queues must be 1 to 64 letters"):
        SqsSettings(queues=["a b"])


def test_queues_are_looked_for_without_making_any(sqs: Sqs, new: Callable[..., Broker]) -> None:
    """A command that makes no queue says so if none is there, and counts those that are."""
    with pytest.raises(QueueMissing, match="there is no queue 'mail'"):
        new(create=False, queues=["reports"])
    new(queues=["reports"]).enqueue([message(b"one", queue="reports")])

    looking = new(create=False, queues=["reports"])

    assert [(one.name, one.size.ready) for one in looking.queues()] == [("", 0), ("reports", 1)]
    assert sqs.asked()["CreateQueue"] == 1


def test_doctor_looks_at_each_queue(section: Callable[..., SqsSettings]) -> None:
    """Each queue at SQS is named, with how long it keeps messages or that it will be created."""
    settings = Settings(name="mail", sections={"sqs": section(queues=["reports"])})

    assert check(settings).count("will be created when the first task is enqueued") == 2


def test_receipts_and_letters_say_of_which_queue_they_are(new: Callable[..., Broker]) -> None:
    """Another connection settles, extends and requeues, and each band is leased before the next."""
    broker, other = (new(queues=["reports"], priorities=True) for _ in range(2))
    broker.enqueue([message(b"%d" % each, queue="reports", priority=each) for each in (0, 1, -1)])
    leased = [broker.lease(1, 0.0)[0] for _ in range(3)]
    assert bodies(leased) == [b"1", b"0", b"-1"]
    assert [one.receipt.partition(b"@")[0] for one in leased] == [b"reports:high", b"reports", b"reports:low"]

    other.extend([*(one.receipt for one in leased), b"reports@", b"nail@", b"@"], 60.0)
    other.settle([Settlement(one.receipt, Action.DEAD_LETTER, reason="no") for one in leased])

    ids = [letter.id for letter in other.dead_letters()]
    assert sorted(one.partition("@")[0] for one in ids) == ["reports", "reports:high", "reports:low"]
    assert broker.requeue(["reports@none", "none", *ids]) == 3
    assert [other.lease(1, 0.0)[0].body for _ in range(3)] == [b"1", b"0", b"-1"]
