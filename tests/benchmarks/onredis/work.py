"""What a task of the benchmark does, the same for every system."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from tests.benchmarks.counter import Hits, ours
from tests.benchmarks.onredis.session import ENDS

#: Seconds a task that is to be killed goes on.
_LONG: Final = 120.0

_hits = ours()
_ends = Hits(os.environ[ENDS])


def hit(index: int) -> int:
    """Do nothing but be counted."""
    _hits.hit(index)
    return index


def job(kind: str, index: int, extra: str | float) -> float:
    """Do one of the other kinds of work; return the seconds the task is still to sleep."""
    if kind == "weigh":
        _hits.hit(index)
    elif kind == "await":
        _hits.hit(index)
        return float(extra)
    elif kind == "stall":
        return _stall(index)
    elif kind == "sleep":
        _hits.hit(index)
        time.sleep(float(extra))
        _ends.hit(index)
    else:
        _hits.hit(index)
        _spin(float(extra))
        _ends.hit(index)
    return 0.0


def _stall(index: int) -> float:
    """Hang when run for the first time; the file of each run holds the worker's pid."""
    folder = Path(os.environ["BENCH_FOLDER"])
    run = len(list(folder.glob("run-*")))
    partial = folder / f"partial-{os.getpid()}"
    partial.write_text(str(os.getpid()))
    partial.rename(folder / f"run-{run}")
    if run:
        _hits.hit(index)
        return 0.0
    return _LONG


def _spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
