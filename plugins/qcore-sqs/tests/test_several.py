"""Queues and priorities of SQS are physical queues that the user declares."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.interfaces import Settings
from qcore_queues.order import QueueOrder
from qcore_queues.routes import Route
from qcore_sqs import SqsSettings
from qcore_sqs.checks import check
from qcore_sqs.queues import Queues
from qcore_sqs.several import broker_of, settings_of
from qcore_testing.broker.base import bodies, message
from qcore_testing.queue_cluster import check_queues_of_a_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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


def test_doctor_looks_at_each_queue(section: Callable[..., SqsSettings]) -> None:
    """Each queue at SQS is named, with how long it keeps messages or that it will be created."""
    settings = Settings(name="mail", sections={"sqs": section(queues=["reports"])})

    assert check(settings).count("will be created when the first task is enqueued") == 2


def test_a_cluster_runs_its_queues(section: Callable[..., SqsSettings], tmp_path: Path) -> None:
    """Strictly in their order, by weights, by priority; and a paused one waits."""
    told = attrs.asdict(
        section(queues=["mail", "reports"], priorities=True), filter=lambda _, value: bool(value)
    )
    check_queues_of_a_cluster({"sqs": told}, tmp_path)
