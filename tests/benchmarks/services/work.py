"""The measured part: a producer and a cluster in a process of their own."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Final

import redis

from qcore import App, Cluster, Config
from tests.benchmarks.counter import VARIABLE, Hits, ours

#: seconds after which a measurement is given up
_TIMEOUT: Final = 300.0
#: tasks that are enqueued one by one
_SINGLES: Final = 50

config = Config.from_dict(
    {
        "name": "bench",
        "workers": 2,
        "recycle": 0,
        "save_limit": -1,
        "secret_key": "only ever used for the benchmark's own tasks",
        "preload": ["tests.benchmarks.services.work"],
        "log_level": "ERROR",
        **json.loads(os.environ["BENCHMARK_KEYS"]),
    }
)
app = App(config)


@app.task(name="tests.benchmarks.services.work.hit")
def hit(index: int) -> int:
    """Do nothing but be counted."""
    ours().hit(index)
    return index


def asked() -> int:
    """Return how many requests the server has had."""
    port = int(os.environ["BENCHMARK_PORT"])
    if config.broker == "sqs":
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/state") as answer:
            return sum(json.loads(answer.read())["asked"].values())
    if config.broker == "iron_mq":
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/requests") as answer:
            return int(json.loads(answer.read())["requests"])
    with redis.Redis(port=port, protocol=2) as client:
        return int(client.execute_command("DEBUG", "ASKED"))


def measure(count: int) -> dict[str, float]:
    """Enqueue one by one and in bulk, then drain; return rates and requests a task."""
    hits = Hits.create(Path(os.environ[VARIABLE]), count)
    began = time.perf_counter()
    for index in range(_SINGLES):
        hit.enqueue(index)
    singles = time.perf_counter() - began
    before, began = asked(), time.perf_counter()
    app.enqueue_many([hit.bind(index) for index in range(_SINGLES, count)])
    bulk, sent = time.perf_counter() - began, asked() - before
    before, end = asked(), time.monotonic() + _TIMEOUT
    with Cluster(config):
        while hits.missing():
            if time.monotonic() > end:
                raise TimeoutError(f"{hits.missing()} of {count} tasks did not run")
            time.sleep(0.005)
        drained = asked() - before
    if hits.doubled():
        raise AssertionError(f"{hits.doubled()} tasks ran twice")
    return {
        "enqueue one by one, tasks/s": _SINGLES / singles,
        "enqueue in bulk, tasks/s": (count - _SINGLES) / bulk,
        "enqueue in bulk, requests a task": sent / (count - _SINGLES),
        "drain, tasks/s": count / hits.seconds(),
        "drain, requests a task": drained / count,
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
