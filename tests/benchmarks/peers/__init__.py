"""One file a peer, each with the same functions, run in an environment of its own.

A peer's file is imported by its producer, its consumer and its workers. It offers

- `enqueue(index)` and `enqueue_many(indexes)`: have `hit(index)` run,
- `start()`: start `WORKERS` worker processes, return the pid above all of them,
- `stop()`: end them,
- `waiting()`: tasks the queue still knows, `stored()`: results it holds.

A task calls `Hits.hit(index)` once and returns the index. The files of a peer go to the current
folder, which is new for each measurement. What it installs and how it is described is listed in
`tests/benchmarks/contest.py`.
"""

from __future__ import annotations

import os
from typing import Final

#: worker processes of every peer
WORKERS: Final = 8 if os.environ.get("BENCH_STYLE") == "models" else 2
#: whether the value a task returns is to be stored
RESULTS: Final = os.environ.get("BENCH_RESULTS") == "1"
#: `tuned` = as fast as its own documentation allows, `defaults` = as installed,
#: `durable` = what is accepted also survives a power failure
STYLE: Final = os.environ.get("BENCH_STYLE", "tuned")
