"""One measurement of qcore on one server, in a process and a folder of its own."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from qcore import App, Cluster, Config
from tests.benchmarks.counter import VARIABLE, Hits, ours

#: seconds after which a measurement is given up
_TIMEOUT: Final = 300.0
_BULK: Final = 1000
#: tasks that are enqueued one by one at most, and at most this part of all
_SINGLES: Final = 1000
_PART: Final = 4

table: dict[str, Any] = json.loads(os.environ["BENCH_TABLE"])
config = Config.from_dict(
    {
        "name": "bench",
        "workers": 2,
        "recycle": 0,
        "secret_key": "only ever used for the benchmark's own tasks",
        "preload": [__name__ if __name__ != "__main__" else "tests.benchmarks.onmongo.work"],
        "log_level": "ERROR",
        **table,
    }
)
app = App(config)


@app.task(name="tests.benchmarks.onmongo.work.hit")
def hit(index: int) -> int:
    """Do nothing but be counted."""
    ours().hit(index)
    return index


def singles_of(count: int) -> int:
    """Return how many of the tasks are enqueued one by one."""
    return min(_SINGLES, count // _PART)


def measure(count: int) -> dict[str, float]:
    """Enqueue one by one and in bulk, then drain; return tasks a second of each."""
    path = Path(os.environ[VARIABLE])
    hits = Hits.create(path, count)
    number = singles_of(count)
    began = time.perf_counter()
    for index in range(number):
        hit.enqueue(index)
    singles = time.perf_counter() - began
    calls = [hit.bind(index) for index in range(number, count)]
    began = time.perf_counter()
    for start in range(0, len(calls), _BULK):
        app.enqueue_many(calls[start : start + _BULK])
    bulk = time.perf_counter() - began
    end = time.monotonic() + _TIMEOUT
    with Cluster(config):
        while hits.missing():
            if time.monotonic() > end:
                raise TimeoutError(f"{hits.missing()} of {count} tasks did not run")
            time.sleep(0.01)
    if hits.doubled():
        raise RuntimeError(f"{hits.doubled()} tasks ran twice")
    drain = (count - 1) / hits.seconds()
    return {"enqueue": number / singles, "bulk": len(calls) / bulk, "drain": drain, "singles": number}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
