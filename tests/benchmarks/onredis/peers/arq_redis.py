"""arq, polling often and reading much at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from arq import create_pool  # type: ignore[import-not-found]  # it lives in its own environment
from arq.connections import RedisSettings  # type: ignore[import-not-found]  # as above

from tests.benchmarks.onredis import work
from tests.benchmarks.onredis.peers import PORT, RESULTS, WORKERS, Call, launch, program, stop

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["WorkerSettings", "hits", "jobs", "start", "stop"]

_loop = asyncio.new_event_loop()
# arq asks for the current loop when a worker is made
asyncio.set_event_loop(_loop)
_pools: Final[list[Any]] = []


async def hit(ctx: dict[str, Any], index: int) -> int:
    """Be counted."""
    del ctx
    return work.hit(index)


async def job(ctx: dict[str, Any], kind: str, index: int, extra: str | float) -> int:
    """Do other work."""
    del ctx
    if rest := work.job(kind, index, extra):
        await asyncio.sleep(rest)
    return index


class WorkerSettings:
    """What the program `arq` reads."""

    functions = (hit, job)
    redis_settings = RedisSettings("127.0.0.1", PORT)
    max_jobs = 100
    queue_read_limit = 1000
    poll_delay = 0.01
    keep_result = 3600 if RESULTS else 0
    log_results = False


async def _send(name: str, calls: Iterable[tuple[object, ...]]) -> None:
    if not _pools:
        _pools.append(await create_pool(WorkerSettings.redis_settings))
    for call in calls:
        await _pools[0].enqueue_job(name, *call)


def hits(indexes: Iterable[int]) -> None:
    """Enqueue one by one."""
    _loop.run_until_complete(_send("hit", ((index,) for index in indexes)))


def jobs(calls: Iterable[Call]) -> None:
    """Enqueue other work."""
    _loop.run_until_complete(_send("job", calls))


def start() -> list[int]:
    """Start as many workers as asked for: each is a program of its own."""
    return [launch(program("arq"), f"{__name__}.WorkerSettings") for _ in range(WORKERS)]
