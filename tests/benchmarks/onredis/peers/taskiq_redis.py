"""taskiq on the stream broker of taskiq-redis, the one that acknowledges."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from taskiq.serializers import ORJSONSerializer  # type: ignore[import-not-found]  # in its own environment
from taskiq_redis import (  # type: ignore[import-not-found]  # as above
    RedisAsyncResultBackend,
    RedisStreamBroker,
)

from tests.benchmarks.onredis import work
from tests.benchmarks.onredis.peers import RESULTS, STYLE, URL, WORKERS, Call, launch, program, stop

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["broker", "hit", "hits", "job", "jobs", "start", "stop"]

#: tasks at a time in each process: its default, or one where that is asked for
_TASKS: Final = 1 if STYLE == "work" else 100

broker = RedisStreamBroker(URL, consumer_id="0").with_serializer(ORJSONSerializer())
if RESULTS:
    broker = broker.with_result_backend(RedisAsyncResultBackend(URL))
_loop = asyncio.new_event_loop()
_started: Final[list[bool]] = []


@broker.task(task_name="hit")
async def hit(index: int) -> int:
    """Be counted."""
    return work.hit(index)


@broker.task(task_name="job")
async def job(kind: str, index: int, extra: str | float) -> int:
    """Do other work."""
    if rest := work.job(kind, index, extra):
        await asyncio.sleep(rest)
    return index


def hits(indexes: Iterable[int]) -> None:
    """Enqueue one by one."""
    _loop.run_until_complete(_send(hit, ((index,) for index in indexes)))


def jobs(calls: Iterable[Call]) -> None:
    """Enqueue other work."""
    _loop.run_until_complete(_send(job, calls))


async def _send(task: object, calls: Iterable[tuple[object, ...]]) -> None:
    if not _started:
        _started.append(True)
        await broker.startup()
    for call in calls:
        await task.kiq(*call)  # type: ignore[attr-defined]  # a task of taskiq's


def start() -> list[int]:
    """Start the consumer."""
    options = ["--workers", str(WORKERS), "--max-async-tasks", str(_TASKS), "--no-parse"]
    return [launch(program("taskiq"), "worker", f"{__name__}:broker", *options, "--log-level", "ERROR")]
