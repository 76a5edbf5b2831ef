"""huey on SqliteHuey."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from huey import SqliteHuey  # type: ignore[import-not-found]  # it lives in its own environment

from tests.benchmarks.counter import ours
from tests.benchmarks.peers import RESULTS, STYLE, WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterable

#: options of the storage, and of the consumer
_STORAGE: Final = {"fsync": False} if STYLE == "tuned" else {}
_POLLING: Final = ("-d", "0.01", "-m", "0.01") if STYLE == "tuned" else ()

huey = SqliteHuey("bench", filename="huey.db", results=RESULTS, **_STORAGE)
_hits = ours()
_running: list[subprocess.Popen[bytes]] = []


@huey.task()
def hit(index: int) -> int:
    """Do nothing but be counted."""
    _hits.hit(index)
    return index


def enqueue(index: int) -> None:
    """Put one task on the queue."""
    hit(index)


def enqueue_many(indexes: Iterable[int]) -> None:
    """Put many tasks on the queue: huey has no call for it."""
    for index in indexes:
        hit(index)


def start() -> int:
    """Start the consumer and return the pid of its first process."""
    consumer = Path(sys.executable).parent / "huey_consumer"
    options = ["-k", "process", "-w", str(WORKERS), "-n", "-q", *_POLLING]
    process = subprocess.Popen([str(consumer), f"{__name__}.huey", *options], env=os.environ)
    _running.append(process)
    return process.pid


def stop() -> None:
    """Stop the consumer."""
    for process in _running:
        process.terminate()
        process.wait()


def waiting() -> int:
    """Return how many tasks are not done with; huey forgets a task when it hands it out."""
    return int(huey.pending_count())


def stored() -> int:
    """Return how many results are stored."""
    return int(huey.result_count())
