"""One file a peer, each with the same functions, run in an environment of its own.

A peer's file is imported by its producer, its consumer and its workers. It offers

- `hits(indexes)`: have `work.hit` run for each, enqueued one by one,
- `hits_bulk(indexes)`: the same in as few calls as there can be; only where there is such a call,
- `jobs(calls)`: have `work.job(*call)` run for each,
- `start()`: start `WORKERS` worker processes, return the pids above all of them,
- `stop()`: end them.

`RESULTS`: what a task returns is stored. `STYLE` is `work` where a worker may run one task at a
time. What is installed and how it is described is listed in `tests/benchmarks/onredis/field.py`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.benchmarks.peers import RESULTS, STYLE, WORKERS

__all__ = ["PORT", "RESULTS", "STYLE", "URL", "WORKERS", "Call", "ended", "launch", "program", "stop"]

#: kind, index and one more argument of `work.job`
Call = tuple[str, int, str | float]

PORT: Final = int(os.environ["BENCH_PORT"])
URL: Final = f"redis://127.0.0.1:{PORT}/0"

_running: Final[list[subprocess.Popen[bytes]]] = []

# Nobody writes a line a task.
logging.disable(logging.WARNING)


def program(name: str) -> str:
    """Return the path of a program of this environment."""
    return str(Path(sys.executable).parent / name)


def launch(*command: str) -> int:
    """Start a command in a group of its own and return its pid."""
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
    _running.append(process)
    return process.pid


def ended() -> int | None:
    """Return the status of a launched process that has ended by itself."""
    return next((status for one in _running if (status := one.poll()) is not None), None)


def stop() -> None:
    """End what was launched, at once: how it stops is not measured."""
    for process in _running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _running.clear()
