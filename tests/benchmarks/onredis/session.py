"""What every session of measurements has at hand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.benchmarks.onredis.peers import ended

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.benchmarks.counter import Hits
    from tests.benchmarks.onredis.wire import Wire

#: names the second file of stamps: when each task ended
ENDS: Final = "BENCH_ENDS"
#: Share of the tasks at either end that a steady rate leaves out.
_EDGE: Final = 0.05


class Odd(Exception):
    """A peer lost a task, ran one twice or did not finish."""


class Session(NamedTuple):
    """One peer, started once or not yet, and where its work is seen."""

    peer: Any
    hits: Hits
    #: when tasks ended, where that matters
    ends: Hits
    wire: Wire
    plan: dict[str, Any]
    #: its own folder
    folder: Path

    def count(self, name: str) -> int:
        """Return a number of the plan."""
        return int(self.plan[name])

    def until_hit(self, indexes: range, seconds: float) -> None:
        """Wait for tasks to have run.

        Raises:
            Odd: they did not in that time.

        """
        # The last is looked at alone first: to look at all costs time that workers could use.
        until(lambda: self.hits.ran(indexes[-1]) or self._ended(), seconds, f"task {indexes[-1]}")
        end = time.monotonic() + seconds
        while left := sum(not self.hits.ran(index) for index in indexes):
            if time.monotonic() > end:
                raise Odd(f"{left} of {len(indexes)} tasks have not run within {seconds:g} s")
            time.sleep(0.01)

    def _ended(self) -> bool:
        status = ended()
        if status is not None:
            raise Odd(f"what was started ended with status {status}")
        return False

    def once(self) -> None:
        """Check that no task ran twice."""
        if doubled := self.hits.doubled():
            raise Odd(f"{doubled} tasks ran twice")

    def steady(self, indexes: range) -> float:
        """Return the tasks a second, from when all workers run to when the first has no more."""
        stamps = sorted(self.hits.stamps[indexes.start : indexes.stop])
        cut = int(len(stamps) * _EDGE)
        inner: Sequence[int] = stamps[cut : len(stamps) - cut]
        return (len(inner) - 1) / (inner[-1] - inner[0]) * 1e9


def until(settled: Callable[[], bool], seconds: float, what: str, pause: float = 0.005) -> None:
    """Wait for something to become true.

    Raises:
        Odd: it did not.

    """
    deadline = time.monotonic() + seconds
    while not settled():
        if time.monotonic() > deadline:
            raise Odd(f"{what}: not within {seconds:g} s")
        time.sleep(pause)
