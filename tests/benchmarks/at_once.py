"""Measure how well workers are filled with tasks that wait."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from qcore import App, Cluster, Config
from tests.benchmarks.processes import pss_bytes

WORKERS: Final = 2
#: seconds that everything is given
_TIMEOUT: Final = 300.0

# Never used as a producer: it names the tasks.
app = App(Config.from_dict({"name": "bench", "secret_key": "only ever used for the benchmark's own tasks"}))


@app.task
async def nap(seconds: float) -> None:
    """Wait as a call of a server does."""
    await asyncio.sleep(seconds)


@app.task
def sleep(seconds: float) -> None:
    """Wait without giving way to coroutines."""
    time.sleep(seconds)


class Bench:
    """One queue, and a cluster that begins with all tasks enqueued."""

    def __init__(self, broker: dict[str, Any], folder: str) -> None:
        self._broker = broker
        self._folder = Path(folder)

    def config(self, **settings: Any) -> Config:
        """Return the configuration of a tuned cluster."""
        name = f"bench{time.monotonic_ns()}"
        broker = self._broker or {"sqlite": {"path": str(self._folder / name)}}
        table = {
            "name": name,
            "workers": WORKERS,
            "secret_key": "only ever used for the benchmark's own tasks",
            "preload": [__name__],
            "log_level": "ERROR",
            "recycle": 0,
            "save_limit": 0,
        }
        return Config.from_dict(table | broker | settings)

    def run(self, task: Any, count: int, seconds: float, **settings: Any) -> float:
        """Return the seconds from the first task's begin to the last one's end."""
        config = self.config(**settings)
        producer = App(config)
        jobs = producer.enqueue_many([task.bind(seconds) for _ in range(count)])
        with Cluster(config):
            results = [job.fetch(_TIMEOUT) for job in jobs]
        producer.close()
        found = [one for one in results if one is not None and one.success]
        if len(found) != count:
            raise RuntimeError(f"of {count} tasks {len(found)} have succeeded")
        return max(one.finished for one in found) - min(one.started for one in found)

    def utilisation(self, task: Any, count: int, seconds: float, places: int, **settings: Any) -> float:
        """Return which part of the places was taken, on the average."""
        return count * seconds / places / self.run(task, count, seconds, **settings)

    def memory(self, count: int) -> float:
        """Return the megabytes that waiting coroutines add to one idle worker."""
        config = self.config(workers=1, coroutines=count)
        producer = App(config)
        with Cluster(config) as cluster:
            (worker,) = cluster.status().workers
            before = pss_bytes(worker.pid)
            jobs = producer.enqueue_many([nap.bind(5.0) for _ in range(count)])
            end = time.monotonic() + _TIMEOUT
            while cluster.status().workers[0].running < count and time.monotonic() < end:
                time.sleep(0.01)
            full = pss_bytes(worker.pid)
            for job in jobs:
                job.fetch(_TIMEOUT)
        producer.close()
        return (full - before) / 1e6


def measure(bench: Bench, *, quick: bool) -> dict[str, float]:
    """Return the figures of one round."""
    few = 20 if quick else 1
    drained = 20_000 // few
    return {
        "utilisation, 100 coroutines of 100 ms": bench.utilisation(
            nap, 2_000 // few, 0.1, WORKERS * 100, coroutines=100
        ),
        "utilisation, 8 threads of 20 ms": bench.utilisation(
            sleep, 1_600 // few, 0.02, WORKERS * 8, threads=8
        ),
        "memory of 200 waiting coroutines, MB": bench.memory(200 // few),
        "drain of async tasks that do nothing, tasks/s": drained / bench.run(nap, drained, 0.0),
    }


def main() -> None:
    """Print the figures of each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one small round, to see that it works")
    parser.add_argument("--broker", type=json.loads, default={}, help="settings of another broker, as JSON")
    asked = parser.parse_args()
    for _ in range(1 if asked.quick else asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(Bench(asked.broker, folder), quick=asked.quick)), flush=True)


if __name__ == "__main__":
    # What workers import has another name than this script.
    from tests.benchmarks import at_once

    at_once.main()
