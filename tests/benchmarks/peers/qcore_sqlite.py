"""qcore on its embedded SQLite, with receipts and signatures as always."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from qcore import App, Cluster, Config
from tests.benchmarks.counter import ours
from tests.benchmarks.peers import RESULTS, STYLE, WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterable

_BULK: Final = 1000
_STYLES: Final[dict[str, dict[str, Any]]] = {
    # every result is kept, as huey keeps them, so that they can be counted
    "tuned": {"recycle": 0, "save_limit": 0},
    "defaults": {},
    "durable": {"recycle": 0, "save_limit": 0, "sqlite": {"path": "qcore.db", "synchronous": "full"}},
}

config = Config.from_dict(
    {
        "name": "bench",
        "workers": WORKERS,
        "secret_key": "only ever used for the benchmark's own tasks",
        "sqlite": {"path": "qcore.db"},
        "preload": [__name__],
        "log_level": "ERROR",
        **_STYLES[STYLE],
        **({} if RESULTS else {"save_limit": -1}),
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


def stored() -> int:
    """Return how many results are stored."""
    with app.runtime.stores.connection() as store:
        return sum(store.counts().values())
