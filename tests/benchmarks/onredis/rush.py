"""Measurements under load: as many tasks as can be."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.benchmarks.onredis.session import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.onredis.session import Session

#: Seconds a drain may take.
_TIMEOUT: Final = 30.0
#: Tasks enqueued before anything is timed, so that connections and scripts are there.
_WARM: Final = 20


def plain(session: Session) -> dict[str, float]:
    """Enqueue one by one and in bulk, then drain without results."""
    figures: dict[str, float] = {}
    last = _fill(session, figures)
    before = session.wire.processor()
    session.peer.start()
    session.until_hit(range(last), _TIMEOUT)
    figures["redis"] = (session.wire.processor() - before) / last * 1e6
    figures["drain"] = session.steady(range(last))
    session.once()
    return figures


def _fill(session: Session, figures: dict[str, float]) -> int:
    """Enqueue what is to be drained; return how many."""
    singles, count = session.count("singles"), session.count("count")
    peer = session.peer
    peer.hits(range(_WARM))
    memory = session.wire.memory()
    figures["enqueue"] = _rate(singles - _WARM, lambda: peer.hits(range(_WARM, singles)))
    figures["bytes"] = (session.wire.memory() - memory) / (singles - _WARM)
    rest = range(singles, max(count, singles + _WARM))
    if hasattr(peer, "hits_bulk"):
        figures["bulk"] = _rate(len(rest), lambda: peer.hits_bulk(rest))
    else:
        peer.hits(rest)
    return rest.stop


def _rate(count: int, run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return count / (time.perf_counter() - began)


def stored(session: Session) -> dict[str, float]:
    """Drain with results stored."""
    figures = drained(session)
    last = session.count("count")
    until(lambda: session.wire.stored() >= last, 10, f"storing {last} results", 0.1)
    return figures


def drained(session: Session) -> dict[str, float]:
    """Drain tasks that do nothing, functions or coroutines."""
    last = session.count("count")
    getattr(session.peer, "hits_bulk", session.peer.hits)(range(last))
    session.peer.start()
    session.until_hit(range(last), _TIMEOUT)
    session.once()
    return {"drain": session.steady(range(last))}


def large(session: Session) -> dict[str, float]:
    """Enqueue long arguments one by one."""
    figures = {}
    one_by_one = getattr(session.peer, "jobs_singly", session.peer.jobs)
    one_by_one([("weigh", 0, "0")] * _WARM)
    for name, size in (("enqueue10k", 10_000), ("enqueue100k", 100_000)):
        calls = [("weigh", index, text(size)) for index in range(session.count("singles"))]
        figures[name] = _rate(len(calls), partial(one_by_one, calls))
    return figures


def heavy(session: Session, size: int) -> dict[str, float]:
    """Drain tasks whose argument is long."""
    last = session.count("count")
    session.peer.jobs([("weigh", index, text(size)) for index in range(last)])
    session.peer.start()
    session.until_hit(range(last), _TIMEOUT)
    session.once()
    return {"drain": session.steady(range(last))}


def text(size: int) -> str:
    """Return a text of so many characters."""
    return "0123456789" * (size // 10)
