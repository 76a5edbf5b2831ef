"""How many tasks end per second lately, and how long they take."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from qcore_counts.metrics import durations, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.status import Durations, Percentiles
    from qcore_counts.metrics import Metrics

#: Seconds that the rates cover, and seconds between two samples.
_WINDOW: Final = 60.0
_SAMPLE_INTERVAL: Final = 3.0


class HasMetrics(Protocol):
    """A page of a worker."""

    @property
    def metrics(self) -> Metrics:
        """What the worker counts."""


@attrs.frozen
class _Sample:
    #: monotonic seconds
    at: float
    finished: int
    runs: Sequence[int]
    waits: Sequence[int]


@attrs.frozen
class Throughput:
    """The rates of a cluster."""

    #: tasks a second
    rate: float = 0.0
    run_time: Percentiles | None = None
    wait_time: Percentiles | None = None


class Rates:
    """Compares the counts of the pages now with those of a minute ago."""

    def __init__(self, pages: Sequence[HasMetrics]) -> None:
        self._pages = pages
        self._samples = deque([self._sample(0)])
        self._last = self._samples[0]

    def since_start(self) -> tuple[Durations, Durations]:
        """Return how long all tasks ran and waited, as of the last call of `now`."""
        sample = self._last
        return durations(sample.runs), durations(sample.waits)

    def now(self, finished: int) -> Throughput:
        """Return the rates of about the last minute; `finished` counts tasks since the start."""
        sample = self._last = self._sample(finished)
        samples = self._samples
        while len(samples) > 1 and sample.at - samples[1].at >= _WINDOW:
            samples.popleft()
        first = samples[0]
        if sample.at - samples[-1].at >= _SAMPLE_INTERVAL:
            samples.append(sample)
        return Throughput(
            (sample.finished - first.finished) / max(sample.at - first.at, 1.0),
            spread(_difference(first.runs, sample.runs)),
            spread(_difference(first.waits, sample.waits)),
        )

    def _sample(self, finished: int) -> _Sample:
        return _Sample(
            time.monotonic(),
            finished,
            _sum([page.metrics.runs() for page in self._pages]),
            _sum([page.metrics.waits() for page in self._pages]),
        )


def _sum(counts: Sequence[Sequence[int]]) -> Sequence[int]:
    return [sum(one) for one in zip(*counts, strict=True)]


def _difference(before: Sequence[int], after: Sequence[int]) -> Sequence[int]:
    return [late - early for early, late in zip(before, after, strict=True)]
