"""How many messages one worker is given where there are too few for all."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from qcore.interfaces import Settings
from qcore.model import Outgoing
from qcore_redis import RedisBroker, RedisSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def worker(shared: Any) -> Iterator[Callable[[bytes], RedisBroker]]:
    """Yield a function that returns the broker of a worker of one queue."""
    name = f"share-{os.urandom(4).hex()}"
    with contextlib.ExitStack() as stack:

        def make(owner: bytes) -> RedisBroker:
            sections = {"redis": RedisSettings(unix_socket_path=shared.path)}
            return stack.enter_context(
                contextlib.closing(RedisBroker(Settings(name=name, sections=sections, owner=owner)))
            )

        yield make


def enqueue(broker: RedisBroker, count: int, queue: str = "") -> None:
    """Put messages on a queue."""
    broker.enqueue([Outgoing(os.urandom(16), b"body", queue=queue) for _ in range(count)])


@pytest.mark.parametrize("queue", ["", "mail"])
def test_a_share_does_not_depend_on_how_many_leases_a_worker_holds(
    worker: Callable[[bytes], RedisBroker], queue: str
) -> None:
    """One that runs many tasks at once has leased them a few at a time."""
    one, other = worker(b"one"), worker(b"other")
    for _ in range(5):
        enqueue(one, 2, queue)
        assert len(one.lease(1, 0.0)) == len(other.lease(1, 0.0)) == 1
    enqueue(one, 20, queue)

    assert len(one.lease(20, 0.0)) == 10
    assert len(other.lease(20, 0.0)) == 5


def test_each_of_many_workers_has_a_share(worker: Callable[[bytes], RedisBroker]) -> None:
    """The first to ask does not get all."""
    workers = [worker(b"worker %d" % number) for number in range(4)]
    enqueue(workers[0], 4)
    for one in workers:
        assert len(one.lease(1, 0.0)) == 1
    enqueue(workers[0], 40)

    assert len(workers[0].lease(100, 0.0)) == 10
