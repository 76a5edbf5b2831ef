"""SAQ on its Redis queue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from saq import Queue  # type: ignore[import-not-found]  # it lives in its own environment

from tests.benchmarks.onredis import work
from tests.benchmarks.onredis.peers import RESULTS, URL, WORKERS, Call, launch, program, stop

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["hits", "jobs", "settings", "start", "stop"]

#: seconds a finished job is kept; -1 = not at all
_TTL: Final = 600 if RESULTS else -1

_loop = asyncio.new_event_loop()
asyncio.set_event_loop(_loop)
_queue = Queue.from_url(URL, name="bench")


async def hit(ctx: dict[str, Any], *, index: int) -> int:
    """Be counted."""
    del ctx
    return work.hit(index)


async def job(ctx: dict[str, Any], *, kind: str, index: int, extra: str | float) -> int:
    """Do other work."""
    del ctx
    if rest := work.job(kind, index, extra):
        await asyncio.sleep(rest)
    return index


settings: Final = {"queue": _queue, "functions": [hit, job], "concurrency": 100}


async def _hits(indexes: Iterable[int]) -> None:
    for index in indexes:
        await _queue.enqueue("hit", index=index, ttl=_TTL)


async def _jobs(calls: Iterable[Call]) -> None:
    for kind, index, extra in calls:
        await _queue.enqueue("job", kind=kind, index=index, extra=extra, ttl=_TTL, retries=3)


def hits(indexes: Iterable[int]) -> None:
    """Enqueue one by one."""
    _loop.run_until_complete(_hits(indexes))


def jobs(calls: Iterable[Call]) -> None:
    """Enqueue other work."""
    _loop.run_until_complete(_jobs(calls))


def start() -> list[int]:
    """Start the workers."""
    return [launch(program("saq"), f"{__name__}.settings", "--workers", str(WORKERS), "--quiet")]
