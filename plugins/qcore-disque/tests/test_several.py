"""Queues and priorities of Disque are physical queues that the user declares."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest

from qcore.interfaces import Settings
from qcore_disque import DisqueBroker
from qcore_disque.several import DisqueQueues, broker_of
from qcore_queues.order import QueueOrder
from qcore_testing.broker.base import acks, bodies, message
from qcore_testing.queue_cluster import check_queues_of_a_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore.interfaces import Broker

    from .conftest import Server

_numbers = itertools.count()


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


def test_a_cluster_runs_its_queues(disque: Server, tmp_path: Path) -> None:
    """Strictly in their order, by weights, by priority; and a paused one waits."""
    declared = {"disque_queues": ["mail", "reports"], "disque_priorities": True}
    check_queues_of_a_cluster({"disque_nodes": [disque.node], **declared}, tmp_path)
