"""huey on RedisHuey."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from huey import RedisHuey  # type: ignore[import-not-found]  # it lives in its own environment

from tests.benchmarks.onredis import work
from tests.benchmarks.onredis.peers import RESULTS, URL, WORKERS, Call, launch, program, stop

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["hit", "hits", "huey", "job", "jobs", "start", "stop"]

huey = RedisHuey("bench", url=URL, results=RESULTS)


@huey.task()
def hit(index: int) -> int:
    """Be counted."""
    return work.hit(index)


@huey.task()
def job(kind: str, index: int, extra: str | float) -> int:
    """Do other work."""
    if rest := work.job(kind, index, extra):
        time.sleep(rest)
    return index


def hits(indexes: Iterable[int]) -> None:
    """Enqueue one by one."""
    for index in indexes:
        hit(index)


def jobs(calls: Iterable[Call]) -> None:
    """Enqueue other work."""
    for call in calls:
        job(*call)


def start() -> list[int]:
    """Start the consumer."""
    options = ["-k", "process", "-w", str(WORKERS), "-n", "-q", "-c", "1"]
    return [launch(program("huey_consumer"), f"{__name__}.huey", *options)]
