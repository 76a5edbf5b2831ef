"""streaQ on its streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from streaq import Worker  # type: ignore[import-not-found]  # it lives in its own environment

from tests.benchmarks.onredis import work
from tests.benchmarks.onredis.peers import RESULTS, URL, WORKERS, Call, launch, program, stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["hits", "hits_bulk", "jobs", "start", "stop", "worker"]

_BULK: Final = 1000
#: seconds a result is kept
_TTL: Final = 300 if RESULTS else 0

worker = Worker(redis_url=URL, concurrency=100, anyio_kwargs={"use_uvloop": True})
_loop = asyncio.new_event_loop()
_holding: Final[list[Any]] = []


@worker.task(ttl=_TTL)
async def hit(index: int) -> int:
    """Be counted."""
    return work.hit(index)


@worker.task(ttl=_TTL)
async def job(kind: str, index: int, extra: str | float) -> int:
    """Do other work."""
    if rest := work.job(kind, index, extra):
        await asyncio.sleep(rest)
    return index


async def _connect() -> None:
    """Keep the connection in a task of its own: it must be closed where it was opened."""
    opened = asyncio.Event()

    async def hold() -> None:
        async with worker:
            opened.set()
            await asyncio.Event().wait()

    _holding.append(asyncio.create_task(hold()))
    await opened.wait()


async def _send(task: Any, calls: Iterable[tuple[object, ...]]) -> None:
    if not _holding:
        await _connect()
    for call in calls:
        await task.enqueue(*call)


async def _send_many(parts: Sequence[Sequence[int]]) -> None:
    if not _holding:
        await _connect()
    for part in parts:
        await worker.enqueue_many([hit.enqueue(index) for index in part])


def hits(indexes: Iterable[int]) -> None:
    """Enqueue one by one."""
    _loop.run_until_complete(_send(hit, ((index,) for index in indexes)))


def hits_bulk(indexes: Sequence[int]) -> None:
    """Enqueue a thousand at a time."""
    parts = [indexes[start : start + _BULK] for start in range(0, len(indexes), _BULK)]
    _loop.run_until_complete(_send_many(parts))


def jobs(calls: Iterable[Call]) -> None:
    """Enqueue other work."""
    _loop.run_until_complete(_send(job, calls))


def start() -> list[int]:
    """Start the workers."""
    return [launch(program("streaq"), "run", f"{__name__}:worker", "--workers", str(WORKERS))]
