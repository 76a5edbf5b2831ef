"""Measurements of workers that run many tasks at once, and of urgent tasks among many others."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.benchmarks.onredis.peers import WORKERS
from tests.benchmarks.onredis.session import until

if TYPE_CHECKING:
    from tests.benchmarks.onredis.session import Session

#: Seconds a drain may take.
_TIMEOUT: Final = 40.0
#: coroutines and threads of each worker process
_COROUTINES: Final = 100
_THREADS: Final = 8
#: Seconds that a task waits, as a coroutine and as a function.
_AWAITS: Final = 0.1
_SLEEPS: Final = 0.02
#: Seconds of each task that an urgent one finds in its way, and between two urgent ones.
_BUSY: Final = 0.005
_PAUSE: Final = 0.01


def coroutines(session: Session) -> dict[str, float]:
    """Return how well coroutines that await are run at once."""
    return _filled(session, WORKERS * _COROUTINES, _AWAITS)


def threads(session: Session) -> dict[str, float]:
    """Return how well functions that sleep are run at once."""
    return _filled(session, WORKERS * _THREADS, _SLEEPS)


def _filled(session: Session, places: int, seconds: float) -> dict[str, float]:
    """Return the share of the places that was taken, from the first task's begin to the last one's end."""
    count = session.count("count")
    session.peer.jobs([("await", index, seconds) for index in range(count)])
    session.peer.start()
    session.until_hit(range(count), _TIMEOUT)
    session.once()
    stamps = session.hits.stamps[:count]
    taken = (max(stamps) - min(stamps)) / 1e9 + seconds
    return {"filled": count * seconds / places / taken * 100}


def urgent(session: Session) -> dict[str, float]:
    """Return how long urgent tasks wait while all workers are busy and many others wait."""
    samples, low = session.count("samples"), session.count("low")
    peer = session.peer
    peer.jobs([("sleep", index, _BUSY) for index in range(samples, samples + low)])
    peer.start()
    until(lambda: sum(map(session.hits.ran, range(samples, samples + 20))) == 20, _TIMEOUT, "the first tasks")
    waits = []
    for index in range(samples):
        began = time.monotonic_ns()
        peer.urgent(index)
        until(partial(session.hits.ran, index), _TIMEOUT, "an urgent task", 0.001)
        waits.append((session.hits.stamps[index] - began) / 1e6)
        time.sleep(_PAUSE)
    waits.sort()
    return {"wait50": waits[len(waits) // 2], "wait99": waits[int(len(waits) * 0.99)]}
