"""qcore on Redis, with receipts and signatures as always."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Final

from qcore import App, Cluster, Config
from tests.benchmarks.onredis import models, work
from tests.benchmarks.onredis.peers import PORT, RESULTS, STYLE, WORKERS, Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BULK: Final = 1000
#: calls with long arguments go in smaller parcels
_HEAVY: Final = 50

if STYLE == "models":
    models.load()

_settings: Final[dict[str, Any]] = {
    "name": "bench",
    "workers": WORKERS,
    "secret_key": "only ever used for the benchmark's own tasks",
    "redis": {"host": "127.0.0.1", "port": PORT},
    "preload": [__name__],
    "log_level": "ERROR",
    **({} if STYLE == "defaults" else {"recycle": 0}),
    "save_limit": 0 if RESULTS else -1,
    **{"coroutines": {"coroutines": 100}, "threads": {"threads": 8}}.get(STYLE, {}),
}
config = Config.from_dict(_settings)
app = App(config)
_others: Final[list[Cluster]] = []


def _hit(index: int) -> int:
    """Be counted."""
    return work.hit(index)


def _job(kind: str, index: int, extra: str | float) -> int:
    """Do other work."""
    if rest := work.job(kind, index, extra):
        time.sleep(rest)
    return index


async def _hit_async(index: int) -> int:
    """Be counted."""
    return work.hit(index)


async def _job_async(kind: str, index: int, extra: str | float) -> int:
    """Do other work."""
    # A program without coroutines does not import it.
    import asyncio

    if rest := work.job(kind, index, extra):
        await asyncio.sleep(rest)
    return index


hit: Final[Any] = app.task(_hit_async if STYLE == "coroutines" else _hit)
job: Final[Any] = app.task(_job_async if STYLE == "coroutines" else _job)


@functools.cache
def _cluster() -> Cluster:
    return Cluster(config)


def hits(indexes: Iterable[int]) -> None:
    """Enqueue one by one."""
    for index in indexes:
        hit.enqueue(index)


def hits_bulk(indexes: Sequence[int]) -> None:
    """Enqueue a thousand at a time."""
    for start in range(0, len(indexes), _BULK):
        app.enqueue_many([hit.bind(index) for index in indexes[start : start + _BULK]])


def jobs(calls: Sequence[Call]) -> None:
    """Enqueue other work."""
    for start in range(0, len(calls), _HEAVY):
        app.enqueue_many([job.bind(*call) for call in calls[start : start + _HEAVY]])


def jobs_singly(calls: Iterable[Call]) -> None:
    """Enqueue other work one by one."""
    for call in calls:
        job.enqueue(*call)


def urgent(index: int) -> None:
    """Enqueue a task that is to run before the others."""
    hit.using(priority=10).enqueue(index)


def start() -> list[int]:
    """Start the cluster."""
    return [_cluster().start().pid or 0]


def start_more(more: int) -> list[int]:
    """Start a cluster of more workers."""
    return _start_another(workers=WORKERS + more)


def start_one(recycle: int) -> list[int]:
    """Start a cluster of one worker, which is replaced after so many tasks."""
    return _start_another(workers=1, recycle=recycle, recycle_after=0)


def _start_another(**settings: Any) -> list[int]:
    _others.append(Cluster(Config.from_dict({**_settings, **settings})))
    return [_others[-1].start().pid or 0]


def stop() -> None:
    """Stop the clusters."""
    for cluster in (_cluster(), *_others):
        cluster.stop(timeout=0.5)
