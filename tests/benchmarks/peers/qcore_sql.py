"""qcore on a database, with receipts and signatures as always."""

from __future__ import annotations

import functools
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from qcore import App, Cluster, Config
from tests.benchmarks.counter import ours
from tests.benchmarks.peers import WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

_BULK: Final = 1000

config = Config.from_dict(
    {
        "name": "bench",
        "workers": WORKERS,
        "secret_key": "only ever used for the benchmark's own tasks",
        "sql": os.environ["BENCH_URL"],
        "preload": [__name__],
        "log_level": "ERROR",
        "recycle": 0,
        "save_limit": -1,
    }
)
app = App(config)
_hits = ours()


@app.task
def hit(index: int) -> int:
    """Do nothing but be counted."""
    _hits.hit(index)
    return index


@functools.cache
def _cluster() -> Cluster:
    return Cluster(config)


def enqueue(index: int) -> None:
    """Put one task on the queue."""
    hit.enqueue(index)


def enqueues() -> AbstractAsyncContextManager[None]:
    """Enter what coroutines need to enqueue."""
    return nullcontext()


async def aenqueue(index: int) -> None:
    """Put one task on the queue, in a coroutine."""
    await hit.aenqueue(index)


def enqueue_many(indexes: Iterable[int]) -> None:
    """Put many tasks on the queue, a thousand in a round trip."""
    calls = [hit.bind(index) for index in indexes]
    for start in range(0, len(calls), _BULK):
        app.enqueue_many(calls[start : start + _BULK])


def start() -> int:
    """Start the cluster and return the pid of its supervisor."""
    return _cluster().start().pid or 0


def stop() -> None:
    """Stop the cluster."""
    _cluster().stop()


def waiting() -> int:
    """Return how many tasks are not done with: ready, leased, delayed or dead-lettered."""
    size = app.queue.size()
    return size.ready + (size.leased or 0) + (size.delayed or 0) + (size.dead_letters or 0)
