"""Take one measurement of one peer, in that peer's environment."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.benchmarks.counter import VARIABLE, Hits
from tests.benchmarks.processes import cpu_seconds, pss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Seconds after which a measurement is given up.
_TIMEOUT: Final = 300.0
#: Coroutines that enqueue at the same time.
COROUTINES: Final = 50
#: Tasks run before anything is timed, so that everybody has imported what they need.
_WARM_UP: Final = 20
#: Seconds between two tasks at low load, at random so that no polling is in step with it.
_PAUSE: Final = (0.03, 0.07)


class Odd(Exception):
    """A peer lost a task, ran one twice or did not finish."""


def until(settled: Callable[[], bool], what: str, pause: float = 0.01) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + _TIMEOUT
    while not settled():
        if time.monotonic() > deadline:
            raise Odd(f"{what} took more than {_TIMEOUT:g} seconds")
        time.sleep(pause)


def audit(peer: Any, hits: Hits, results: int | None = None) -> None:
    """Check that every task ran once, that the queue knows it, and that its result is there."""
    until(lambda: peer.waiting() == 0, "emptying the queue")
    if hits.missing() or hits.doubled():
        raise Odd(f"of {hits.size} tasks {hits.missing()} were lost and {hits.doubled()} ran twice")
    if results is not None:
        until(lambda: peer.stored() == results, f"storing {results} results")


def enqueue(peer: Any, hits: Hits) -> dict[str, float]:
    """Return tasks a second, enqueued one by one."""
    del hits
    peer.enqueue(0)
    count = int(os.environ["BENCH_COUNT"])
    began = time.perf_counter()
    for index in range(1, count):
        peer.enqueue(index)
    taken = time.perf_counter() - began
    if peer.waiting() != count:
        raise Odd(f"{peer.waiting()} tasks are queued, {count} were enqueued")
    return {"rate": (count - 1) / taken}


def coroutines(peer: Any, hits: Hits) -> dict[str, float]:
    """Return tasks a second that fifty coroutines enqueue one by one, each awaiting its own."""
    del hits
    peer.enqueue(0)
    count = int(os.environ["BENCH_COUNT"])

    async def enqueue(first: int) -> None:
        for index in range(first, count, COROUTINES):
            await peer.aenqueue(index)

    async def main() -> float:
        async with peer.enqueues():
            await peer.aenqueue(1)
            began = time.perf_counter()
            await asyncio.gather(*(enqueue(2 + number) for number in range(COROUTINES)))
            return time.perf_counter() - began

    taken = asyncio.run(main())
    if peer.waiting() != count:
        raise Odd(f"{peer.waiting()} tasks are queued, {count} were enqueued")
    return {"rate": (count - 2) / taken}


def bulk(peer: Any, hits: Hits) -> dict[str, float]:
    """Return tasks a second, enqueued in bulk."""
    peer.enqueue(0)
    began = time.perf_counter()
    peer.enqueue_many(range(1, hits.size))
    taken = time.perf_counter() - began
    if peer.waiting() != hits.size:
        raise Odd(f"{peer.waiting()} tasks are queued, {hits.size} were enqueued")
    return {"rate": (hits.size - 1) / taken}


def drain(peer: Any, hits: Hits) -> dict[str, float]:
    """Return tasks a second from the first hit to the last; all are queued before anybody works."""
    peer.enqueue_many(range(hits.size))
    peer.start()
    until(lambda: hits.missing() == 0, "draining the queue")
    # With qcore's defaults only the newest results are kept.
    counted = os.environ["BENCH_RESULTS"] == "1" and os.environ["BENCH_STYLE"] != "defaults"
    audit(peer, hits, hits.size if counted else None)
    peer.stop()
    return {"rate": (hits.size - 1) / hits.seconds()}


def latency(peer: Any, hits: Hits) -> dict[str, float]:
    """Return milliseconds from before the call that enqueues to inside of the task, at low load."""
    peer.start()
    chance = random.Random(2611)
    taken = []
    for index in range(hits.size):
        began = time.monotonic_ns()
        peer.enqueue(index)
        until(partial(hits.ran, index), "one task", 0.001)
        if index >= _WARM_UP:
            taken.append((hits.stamps[index] - began) / 1e6)
        time.sleep(chance.uniform(*_PAUSE))
    audit(peer, hits)
    peer.stop()
    taken.sort()
    return {"p50": taken[len(taken) // 2], "p99": taken[int(len(taken) * 0.99)]}


def idle(peer: Any, hits: Hits) -> dict[str, float]:
    """Return what all processes of a peer together take while there is nothing to do."""
    root = peer.start()
    for index in range(hits.size):
        peer.enqueue(index)
    until(lambda: hits.missing() == 0, "warming up")
    audit(peer, hits)
    seconds = float(os.environ["BENCH_SECONDS"])
    time.sleep(min(1.0, seconds))
    memory = pss_bytes(root)
    before = cpu_seconds(root)
    time.sleep(seconds)
    figures = {"memory": memory / 1e6, "cpu": (cpu_seconds(root) - before) / seconds * 1000}
    peer.stop()
    return figures


MEASURES: Final[Mapping[str, Callable[[Any, Hits], dict[str, float]]]] = {
    "enqueue": enqueue,
    "coroutines": coroutines,
    "bulk": bulk,
    "drain": drain,
    "latency": latency,
    "idle": idle,
}


def main(module: str, measure: str) -> None:
    """Measure and print the figures as one line of JSON, the last of the output."""
    size = int(os.environ["BENCH_COUNT"]) + (_WARM_UP if measure == "latency" else 0)
    path = Path("hits")
    hits = Hits.create(path, size)
    os.environ[VARIABLE] = str(path.resolve())
    peer = importlib.import_module(f"tests.benchmarks.peers.{module}")
    try:
        figures: dict[str, Any] = MEASURES[measure](peer, hits)
    except Odd as exc:
        peer.stop()
        figures = {"odd": str(exc)}
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
