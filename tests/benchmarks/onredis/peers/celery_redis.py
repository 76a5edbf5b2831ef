"""Celery on Redis, acknowledging late."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from celery import Celery  # type: ignore[import-not-found]  # it lives in its own environment

from tests.benchmarks.onredis import models, work
from tests.benchmarks.onredis.peers import RESULTS, STYLE, URL, WORKERS, Call, launch, program, stop

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["app", "hit", "hits", "job", "jobs", "start", "stop"]

if STYLE == "models":
    models.load()

app = Celery("bench", broker=URL, backend=URL if RESULTS else None, set_as_current=False)
app.conf.update(
    task_ignore_result=not RESULTS,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=100,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="hit")
def hit(index: int) -> int:
    """Be counted."""
    return work.hit(index)


@app.task(name="job")
def job(kind: str, index: int, extra: str | float) -> int:
    """Do other work."""
    if rest := work.job(kind, index, extra):
        time.sleep(rest)
    return index


def hits(indexes: Iterable[int]) -> None:
    """Enqueue one by one."""
    for index in indexes:
        hit.delay(index)


def jobs(calls: Iterable[Call]) -> None:
    """Enqueue other work."""
    for call in calls:
        job.delay(*call)


def start() -> list[int]:
    """Start the worker."""
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR"]
    options = ["-P", "prefork", "-c", str(WORKERS), *quiet]
    return [launch(program("celery"), "-q", "-A", f"{__name__}:app", "worker", *options)]
