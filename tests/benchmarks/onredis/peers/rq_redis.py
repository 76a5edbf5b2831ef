"""RQ with workers that do not fork."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from redis import Redis
from rq import Queue  # type: ignore[import-not-found]  # it lives in its own environment

from tests.benchmarks.onredis import models, work
from tests.benchmarks.onredis.peers import STYLE, URL, WORKERS, Call, launch, program, stop

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["hit", "hits", "hits_bulk", "job", "jobs", "start", "stop"]

if STYLE == "models":
    models.load()

_BULK: Final = 1000
_queue = Queue("bench", connection=Redis.from_url(URL))


def hit(index: int) -> int:
    """Be counted."""
    return work.hit(index)


def job(kind: str, index: int, extra: str | float) -> int:
    """Do other work."""
    if rest := work.job(kind, index, extra):
        time.sleep(rest)
    return index


def hits(indexes: Sequence[int]) -> None:
    """Enqueue one by one."""
    for index in indexes:
        _queue.enqueue(hit, index)


def hits_bulk(indexes: Sequence[int]) -> None:
    """Enqueue a thousand at a time."""
    for start in range(0, len(indexes), _BULK):
        part = indexes[start : start + _BULK]
        _queue.enqueue_many([Queue.prepare_data(hit, (index,)) for index in part])


def jobs(calls: Sequence[Call]) -> None:
    """Enqueue other work."""
    for call in calls:
        _queue.enqueue(job, *call)


def start() -> list[int]:
    """Start the pool."""
    options = ["-n", str(WORKERS), "-w", "rq.worker.SimpleWorker", "-q", "-u", URL]
    return [launch(program("rq"), "worker-pool", *options, "bench")]
