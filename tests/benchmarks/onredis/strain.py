"""Measurements of real work, of long tasks among short ones, and of a deep queue."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Final

from tests.benchmarks.onredis.peers import WORKERS

if TYPE_CHECKING:
    from tests.benchmarks.onredis.session import Session

#: kind of work, its seconds, how it is named
_KINDS: Final = (("sleep", 0.001, "sleep1"), ("sleep", 0.010, "sleep10"), ("spin", 0.001, "spin1"))
#: a burst: this many short tasks, and an early long one
_BURST: Final = 100
_EARLY: Final = 3
_SHORT: Final = 0.001
_LONG: Final = 0.4
#: Seconds between the beginnings of two bursts: a burst is done when the next comes.
_BETWEEN: Final = 0.7
#: Seconds a kind of work or a burst may take.
_TIMEOUT: Final = 30.0
#: tasks by which a queue is measured, and how often a deep one and a short one
_SAMPLE: Final = 20_000
_ALTERNATIONS: Final = 5


def work(session: Session) -> dict[str, float]:
    """Return the share of the time in which the workers were inside tasks, for each kind of work."""
    seconds = float(session.plan["seconds"])
    parts = []
    first = 0
    for kind, each, name in _KINDS:
        last = first + max(20, int(seconds / each * WORKERS))
        session.peer.jobs([(kind, index, each) for index in range(first, last)])
        parts.append((name, range(first, last)))
        first = last
    session.peer.start()
    figures = {}
    session.until_hit(range(first), _TIMEOUT)
    for name, indexes in parts:
        figures[name] = _busy(session, indexes, first)
    session.once()
    return figures


def _busy(session: Session, indexes: range, count: int) -> float:
    """Return the share of time the workers were inside tasks of any kind, while these began."""
    stamps = sorted(session.hits.stamps[indexes.start : indexes.stop])
    # Both ends are left out: at one a worker has just come up, at the other one has no more to do.
    cut = len(stamps) // 20
    since, till = stamps[cut], stamps[-cut - 1]
    spans = zip(session.hits.stamps[:count], session.ends.stamps[:count], strict=True)
    busy = sum(max(0, min(end, till) - max(begin, since)) for begin, end in spans)
    return busy / (till - since) / WORKERS * 100


def mix(session: Session) -> dict[str, float]:
    """Return how long short tasks waited while one in a hundred is long."""
    session.peer.start()
    session.peer.hits([0])
    session.until_hit(range(1), _TIMEOUT)
    waits, index = [], 1
    for _ in range(session.count("bursts")):
        began = time.monotonic()
        asked = {}
        for number in range(_BURST):
            asked[index] = time.monotonic_ns()
            session.peer.jobs([("sleep", index, _LONG if number == _EARLY else _SHORT)])
            index += 1
        long = index - _BURST + _EARLY
        session.until_hit(range(index), _TIMEOUT)
        waits += [(session.hits.stamps[one] - stamp) / 1e6 for one, stamp in asked.items() if one != long]
        time.sleep(max(0.0, began + _BETWEEN - time.monotonic()))
    waits.sort()
    session.once()
    return {"wait50": waits[len(waits) // 2], "wait99": waits[int(len(waits) * 0.99)]}


def deep(session: Session) -> dict[str, float]:
    """Return the rate with a million tasks pending over the rate with few, alternately."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    first = 0
    for _ in range(_ALTERNATIONS):
        for full in (False, True):
            sample = range(first, first + _SAMPLE)
            first = sample.stop
            rates[full].append(_rate(session, sample, session.count("pending") if full else 0))
    many, few = statistics.median(rates[True]), statistics.median(rates[False])
    ratios = [one / other for one, other in zip(rates[True], rates[False], strict=True)]
    return {"pending": many, "few": few, "ratio": statistics.median(ratios)}


def _rate(session: Session, sample: range, behind: int) -> float:
    """Return the rate of the first tasks of a queue, with so many others behind them."""
    session.wire.ask("FLUSHALL")
    peer = session.peer
    peer.hits_bulk(sample)
    peer.hits_bulk([sample.stop] * behind)
    peer.start()
    session.until_hit(sample, _TIMEOUT)
    rate = session.steady(sample)
    peer.stop()
    return rate
