"""Measurements with little or nothing to do, and of a worker's death."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.benchmarks.onredis.session import Odd, until
from tests.benchmarks.processes import cpu_seconds, pss_bytes

if TYPE_CHECKING:
    from tests.benchmarks.onredis.session import Session

#: Seconds anything may take here.
_TIMEOUT: Final = 20.0
#: Tasks before anything is timed, so that every worker has imported what it needs.
_WARM: Final = 20
#: Seconds between two tasks at low load, at random so that no polling is in step with it.
_PAUSE: Final = (0.003, 0.012)
#: Seconds after which an idle process has given back what it gives back.
_SETTLED: Final = 0.3
#: Workers that are added to see what one more takes.
_MORE: Final = 4


def calm(session: Session) -> dict[str, float]:
    """Return start-up, latency, and what an idle tree of processes takes."""
    session.peer.hits([0])
    began = time.monotonic_ns()
    roots = session.peer.start()
    session.until_hit(range(1), _TIMEOUT)
    figures = {"startup": (session.hits.stamps[0] - began) / 1e9}
    session.peer.hits(range(1, _WARM))
    session.until_hit(range(_WARM), _TIMEOUT)
    figures |= _latency(session)
    time.sleep(_SETTLED)
    figures["memory"] = sum(pss_bytes(root) for root in roots) / 1e6
    seconds = float(session.plan["idle"])
    cpu, redis = _processor(roots), session.wire.processor()
    time.sleep(seconds)
    figures["cpu"] = (_processor(roots) - cpu) / seconds * 100
    figures["redis"] = (session.wire.processor() - redis) / seconds * 100
    session.once()
    return figures


def _processor(roots: list[int]) -> float:
    return sum(cpu_seconds(root) for root in roots)


def _latency(session: Session) -> dict[str, float]:
    chance = random.Random(2611)
    taken = []
    for index in range(_WARM, _WARM + session.count("samples")):
        began = time.monotonic_ns()
        session.peer.hits([index])
        until(partial(session.hits.ran, index), _TIMEOUT, "one task", 0.001)
        taken.append((session.hits.stamps[index] - began) / 1e6)
        time.sleep(chance.uniform(*_PAUSE))
    taken.sort()
    return {"p50": taken[len(taken) // 2], "p99": taken[int(len(taken) * 0.99)]}


def wide(session: Session) -> dict[str, float]:
    """Return the memory that one more worker takes."""
    taken = []
    first = 0
    for start in (session.peer.start, lambda: session.peer.start_more(_MORE)):
        roots = start()
        session.peer.hits(range(first, first + _WARM))
        session.until_hit(range(first, first + _WARM), _TIMEOUT)
        first += _WARM
        time.sleep(_SETTLED)
        taken.append(sum(pss_bytes(root) for root in roots) / 1e6)
        session.peer.stop()
    return {"each": (taken[1] - taken[0]) / _MORE}


def models(session: Session) -> dict[str, float]:
    """Return what an idle tree takes whose workers have a program with many models."""
    roots = session.peer.start()
    session.peer.hits(range(_WARM))
    session.until_hit(range(_WARM), _TIMEOUT)
    time.sleep(_SETTLED)
    return {"memory": sum(pss_bytes(root) for root in roots) / 1e6}


def killed(session: Session) -> dict[str, float]:
    """Kill a worker amid a task; return the seconds until that task runs again."""
    session.peer.start()
    session.peer.hits(range(_WARM))
    session.until_hit(range(_WARM), _TIMEOUT)
    session.peer.jobs([("stall", _WARM, 0)])
    first, second = (session.folder / f"run-{number}" for number in range(2))
    until(first.exists, _TIMEOUT, "the task to be killed")
    time.sleep(0.2)
    os.kill(int(first.read_text()), signal.SIGKILL)
    began = time.monotonic_ns()
    try:
        until(second.exists, float(session.plan["killed"]), "a second run", 0.001)
    except Odd:
        return {"again": math.inf}
    until(partial(session.hits.ran, _WARM), 1.0, "the second run")
    return {"again": (session.hits.stamps[_WARM] - began) / 1e9}
