"""What it costs that workers are replaced, of qcore only."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from tests.benchmarks.processes import spent

if TYPE_CHECKING:
    from tests.benchmarks.onredis.session import Session

#: as installed
_RECYCLE: Final = 500
#: Seconds a drain may take.
_TIMEOUT: Final = 40.0


def recycled(session: Session) -> dict[str, float]:
    """Return the processor time of one recycling, and for how long nothing runs meanwhile."""
    count = session.count("count")
    plain = _drain(session, range(count), recycle=0)
    with_it = _drain(session, range(count, 2 * count), recycle=_RECYCLE)
    # One worker runs them in order, so each stamp at a multiple is the first of a new worker.
    stamps = sorted(session.hits.stamps[count : 2 * count])
    gaps = [(stamps[at] - stamps[at - 1]) / 1e6 for at in range(_RECYCLE, count, _RECYCLE)]
    session.once()
    return {"each": (with_it - plain) / len(gaps) * 1e3, "gap": statistics.median(gaps)}


def _drain(session: Session, indexes: range, *, recycle: int) -> float:
    """Return the processor time of a cluster of one worker that runs so many tasks, its start included."""
    peer = session.peer
    peer.hits_bulk(indexes)
    [root] = peer.start_one(recycle)
    session.until_hit(indexes, _TIMEOUT)
    taken = spent(root)
    peer.stop()
    return taken
