"""procrastinate on PostgreSQL."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import procrastinate  # type: ignore[import-not-found]  # it lives in its own environment
import psycopg

from tests.benchmarks.counter import ours
from tests.benchmarks.peers import WORKERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

_BULK: Final = 1000
#: jobs that one worker process has in hand at once
_CONCURRENCY: Final = 10
#: connections that coroutines enqueue by; it is slower with fifty
_POOL: Final = 10
_URL: Final = os.environ["BENCH_URL"]

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=_URL))
_hits = ours()
_of_coroutines: list[Any] = []
_running: list[subprocess.Popen[bytes]] = []


@app.task(name="hit")
async def hit(index: int) -> None:
    """Do nothing but be counted; a coroutine, because a function would be run in a thread."""
    _hits.hit(index)


@functools.cache
def _ready() -> Any:
    """Open the producer's connections and create the tables, once."""
    app.open()
    app.schema_manager.apply_schema()
    return hit


def enqueue(index: int) -> None:
    """Put one task on the queue."""
    _ready().defer(index=index)


@asynccontextmanager
async def enqueues() -> AsyncIterator[None]:
    """Enter what coroutines need to enqueue: a pool of connections."""
    _ready()
    pool = procrastinate.PsycopgConnector(conninfo=_URL, min_size=_POOL, max_size=_POOL)
    mine = procrastinate.App(connector=pool)
    async with mine.open_async():
        _of_coroutines.append(mine.configure_task("hit", allow_unknown=True))
        yield


async def aenqueue(index: int) -> None:
    """Put one task on the queue, in a coroutine."""
    await _of_coroutines[-1].defer_async(index=index)


def enqueue_many(indexes: Iterable[int]) -> None:
    """Put many tasks on the queue, a thousand in a round trip."""
    calls = [{"index": index} for index in indexes]
    for start in range(0, len(calls), _BULK):
        _ready().batch_defer(*calls[start : start + _BULK])


def start() -> int:
    """Start the workers and return the pid of the first."""
    _ready()
    options = ["--concurrency", str(_CONCURRENCY), "--delete-jobs", "always"]
    command = [sys.executable, "-m", "procrastinate", "--app", f"{__name__}.app", "worker", *options]
    _running.extend(
        subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL) for _ in range(WORKERS)
    )
    return _running[0].pid


def stop() -> None:
    """Stop the workers."""
    for process in _running:
        process.terminate()
        process.wait()


def waiting() -> int:
    """Return how many tasks are not done with."""
    _ready()
    with psycopg.connect(_URL) as connection:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
