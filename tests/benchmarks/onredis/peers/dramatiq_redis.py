"""dramatiq on its RedisBroker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import dramatiq  # type: ignore[import-not-found]  # it lives in its own environment
from dramatiq.brokers.redis import RedisBroker  # type: ignore[import-not-found]  # as above
from dramatiq.results import Results  # type: ignore[import-not-found]  # as above
from dramatiq.results.backends import RedisBackend  # type: ignore[import-not-found]  # as above

from tests.benchmarks.onredis import models, work
from tests.benchmarks.onredis.peers import RESULTS, STYLE, URL, WORKERS, Call, launch, program, stop

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["broker", "hit", "hits", "job", "jobs", "start", "stop"]

if STYLE == "models":
    models.load()

#: threads of each process: its default, or one where one task at a time is asked for
_THREADS: Final = 1 if STYLE == "work" else 8

broker = RedisBroker(url=URL)
if RESULTS:
    broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)
_stored: Final = {"store_results": True} if RESULTS else {}


@dramatiq.actor(**_stored)
def hit(index: int) -> int:
    """Be counted."""
    return work.hit(index)


@dramatiq.actor(**_stored)
def job(kind: str, index: int, extra: str | float) -> int:
    """Do other work."""
    if rest := work.job(kind, index, extra):
        time.sleep(rest)
    return index


def hits(indexes: Iterable[int]) -> None:
    """Enqueue one by one."""
    for index in indexes:
        hit.send(index)


def jobs(calls: Iterable[Call]) -> None:
    """Enqueue other work."""
    for call in calls:
        job.send(*call)


def start() -> list[int]:
    """Start the consumer."""
    options = ["--processes", str(WORKERS), "--threads", str(_THREADS), "--skip-logging"]
    return [launch(program("dramatiq"), f"{__name__}:broker", *options)]
