"""One variant: a producer and a cluster, which measures whenever it is told to."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qcore import App, Cluster, Config
from tests.benchmarks.processes import spent, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.tasks.call import Call

#: seconds after which a measurement is given up
_TIMEOUT: Final = 600.0
_BULK: Final = 1000
#: tasks that are enqueued one by one, each when the one before has run
_SINGLE: Final = 31
#: the file that the first and the last task stamp, of two numbers
_STAMPS: Final = Path("stamps")

config = Config.from_dict(
    {
        "name": "bench",
        "workers": 2,
        "recycle": int(os.environ["BENCH_RECYCLE"]),
        "save_limit": -1,
        "max_attempts": 1,
        "ack_failures": True,
        "secret_key": "only ever used for the benchmark's own tasks",
        "preload": ["tests.benchmarks.reporters.work"],
        "log_level": "CRITICAL",
        **json.loads(os.environ["BENCH_KEYS"]),
    }
)
app = App(config)


@app.task(name="tests.benchmarks.reporters.work.nothing")
def nothing() -> None:
    """Do nothing."""


@app.task(name="tests.benchmarks.reporters.work.fail")
def fail(number: int) -> None:
    """Fail as tasks of users do."""
    order = {"number": number}
    raise ValueError(f"order {order['number']} has no customer")


@app.task(name="tests.benchmarks.reporters.work.stamp")
def stamp() -> None:
    """Note when this ran."""
    with _STAMPS.open("a", encoding="ascii") as file:
        file.write(f"{time.monotonic_ns()}\n")


def calls(count: int, fail_every: int) -> Iterator[Call]:
    """Yield what is enqueued: tasks that do nothing, and among them some that fail."""
    yield stamp.bind()
    for number in range(count):
        yield fail.bind(number) if fail_every and number % fail_every == fail_every - 1 else nothing.bind()
    yield stamp.bind()


def trace_here() -> None:
    """Have this program traced, as its environment says."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())


def scraping(port: int, ended: threading.Event, counted: list[int]) -> None:
    """Ask for the metrics each second."""
    while not ended.wait(1.0):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            counted.append(len(answer.read()))


def used() -> float:
    """Return the processor seconds of the cluster and of the workers that it has replaced."""
    return spent(tree(os.getpid())[1])


def enqueue(count: int, fail_every: int) -> float:
    """Enqueue in bulk, and return the processor seconds of that."""
    began = time.process_time()
    waiting = calls(count, fail_every)
    while chunk := list(itertools.islice(waiting, _BULK)):
        app.enqueue_many(chunk)
    return time.process_time() - began


def pause(cluster: Cluster) -> None:
    """Have workers take nothing, and return once they know it."""
    app.queue.pause()
    end = time.monotonic() + _TIMEOUT
    while not cluster.status().paused:
        if time.monotonic() > end:
            raise TimeoutError("the cluster does not pause")
        time.sleep(0.01)


def drain(count: int) -> None:
    """Let the tasks run, and return once all have."""
    app.queue.resume()
    end = time.monotonic() + _TIMEOUT
    while (size := app.queue.size()).ready or size.leased:
        if time.monotonic() > end:
            raise TimeoutError(f"{size.ready} of {count} tasks did not run")
        time.sleep(0.01)


def latency() -> float:
    """Return the median of the seconds from before a task is enqueued to inside of it, one after another."""
    took = []
    for _ in range(_SINGLE):
        _STAMPS.unlink(missing_ok=True)
        began = time.monotonic_ns()
        stamp.enqueue()
        end = time.monotonic() + _TIMEOUT
        while not _STAMPS.exists() or not _STAMPS.stat().st_size:
            if time.monotonic() > end:
                raise TimeoutError("a task did not run")
            time.sleep(0.001)
        took.append(int(_STAMPS.read_text(encoding="ascii")) - began)
    return statistics.median(took) / 1e9


def measure(cluster: Cluster, count: int, fail_every: int) -> dict[str, Any]:
    """Enqueue, drain, and return how fast that was and what it took."""
    pause(cluster)
    _STAMPS.unlink(missing_ok=True)
    enqueued = enqueue(count, fail_every)
    ended, scrapes = threading.Event(), list[int]()
    before, counted = used(), cluster.status()
    if port := int(os.environ.get("BENCH_SCRAPE", "0")):
        threading.Thread(target=scraping, args=(port, ended, scrapes), daemon=True).start()
    drain(count)
    ended.set()
    taken, status = used() - before, cluster.status()
    first, *_, last = sorted(map(int, _STAMPS.read_text(encoding="ascii").split()))
    return {
        "latency": latency() * 1e3,
        "rate": count / (last - first) * 1e9,
        "cpu": taken / count * 1e6,
        "enqueue": enqueued / count * 1e6,
        "lost": status.reports_lost - counted.reports_lost,
        "made": status.reports - counted.reports,
        "scrapes": len(scrapes),
        "replaced": sum(status.reincarnations.values()) - sum(counted.reincarnations.values()),
    }


def main() -> None:
    """Measure once for each line of standard input, which has two numbers, by one cluster."""
    if os.environ.get("BENCH_TRACE"):
        trace_here()
    with Cluster(config) as cluster:
        for line in sys.stdin:
            count, fail_every = map(int, line.split())
            print(json.dumps(measure(cluster, count, fail_every)), flush=True)


if __name__ == "__main__":
    main()
