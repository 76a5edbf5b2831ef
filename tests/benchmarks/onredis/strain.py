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
#: tasks a deep queue is measured by, and a shallow one at a time
_SAMPLE: Final = 40_000
_SHALLOW: Final = 1000
_SHALLOW_TIMES: Final = 20


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
    """Return the rate with a million tasks pending over the rate with a thousand."""
    peer, pending = session.peer, session.count("pending")
    shallow = _SHALLOW * _SHALLOW_TIMES
    peer.start()
    rates = []
    for first in range(0, shallow, _SHALLOW):
        batch = range(first, first + _SHALLOW)
        peer.hits_bulk(batch)
        session.until_hit(batch, _TIMEOUT)
        rates.append(session.steady(batch))
    peer.stop()
    peer.hits_bulk(range(shallow, shallow + pending))
    peer.start()
    sample = range(shallow, shallow + _SAMPLE)
    session.until_hit(sample, _TIMEOUT)
    rate = session.steady(sample)
    return {"pending": rate, "few": statistics.median(rates), "ratio": rate / statistics.median(rates)}
