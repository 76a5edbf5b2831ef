"""How many tasks a second, and how long they take, lately."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

import attrs

from qcore.journal.metrics import spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.journal.pages import Page
    from qcore.status import Percentiles

#: Seconds that are looked back, and between two samples kept.
_LATELY: Final = 60.0
_APART: Final = 3.0


@attrs.frozen
class _Sample:
    #: monotonic seconds
    at: float
    finished: int
    runs: Sequence[int]
    waits: Sequence[int]


@attrs.frozen
class Throughput:
    """How fast it goes."""

    #: tasks a second
    rate: float = 0.0
    run_time: Percentiles | None = None
    wait_time: Percentiles | None = None


class Rates:
    """Compares what the pages count now with what they counted a minute ago."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self._pages = pages
        self._samples = deque([self._sample(0)])

    def now(self, finished: int) -> Throughput:
        """Return the pace of about the last minute; `finished` counts tasks since the start."""
        sample = self._sample(finished)
        samples = self._samples
        while len(samples) > 1 and sample.at - samples[1].at >= _LATELY:
            samples.popleft()
        first = samples[0]
        if sample.at - samples[-1].at >= _APART:
            samples.append(sample)
        return Throughput(
            (sample.finished - first.finished) / max(sample.at - first.at, 1.0),
            spread(_grown(first.runs, sample.runs)),
            spread(_grown(first.waits, sample.waits)),
        )

    def _sample(self, finished: int) -> _Sample:
        return _Sample(
            time.monotonic(),
            finished,
            _together([page.gauges.runs() for page in self._pages]),
            _together([page.gauges.waits() for page in self._pages]),
        )


def _together(counts: Sequence[Sequence[int]]) -> Sequence[int]:
    return [sum(one) for one in zip(*counts, strict=True)]


def _grown(before: Sequence[int], after: Sequence[int]) -> Sequence[int]:
    return [late - early for early, late in zip(before, after, strict=True)]
