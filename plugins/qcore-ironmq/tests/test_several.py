"""Queues and priorities of IronMQ are physical queues that the user declares."""

from __future__ import annotations

import itertools
import os
import string
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.interfaces import Settings
from qcore_ironmq import IronSettings
from qcore_ironmq.several import broker_of, queue_of
from qcore_queues.order import QueueOrder
from qcore_queues.routes import Route
from qcore_testing.queue_cluster import check_queues_of_a_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qcore.interfaces import Broker

    from .conftest import Server

_numbers = itertools.count()
QUEUES = st.text(string.ascii_letters + string.digits + "_.-", max_size=64)


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


def test_a_cluster_runs_its_queues(ironmq: Server, tmp_path: Path) -> None:
    """Strictly in their order, by weights, by priority; and a paused one waits."""
    declared = {"queues": ["mail", "reports"], "priorities": True}
    check_queues_of_a_cluster({"iron_mq": ironmq.settings | declared}, tmp_path)


@given(QUEUES, st.sampled_from([-1, 0, 1]))
def test_a_queue_is_spelled_in_one_way(queue: str, band: int) -> None:
    """What is added to the name of the configuration is left as it is by whoever encodes a URL."""
    name = queue_of("orders", Route(queue, band))

    assert quote(name, safe="") == name
    assert unquote(name) == name
