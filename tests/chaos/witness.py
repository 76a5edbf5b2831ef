"""What is asked of a queue after everything was killed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from qcore.model import QueueSize
from tests.integration.land import lines, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qcore import App, Job, Result

#: seconds until a queue is empty whatever was done to it; leases of these tests are short
TIMEOUT = 60.0


@attrs.frozen
class Witness:
    """The jobs of one test, and the file their runs are written to."""

    app: App
    path: Path

    def runs(self) -> Counter[int]:
        """Return how often each task ran, by its number."""
        return Counter(map(int, lines(self.path)))

    def drained(self, *, dead_letters: int = 0, within: float = TIMEOUT) -> None:
        """Wait until nothing is ready, leased or delayed: progress without anybody's help."""
        empty = QueueSize(ready=0, leased=0, delayed=0, dead_letters=dead_letters)
        until(lambda: self.app.queue.size() == empty, "the queue to be empty", within=within)

    def results(self, jobs: Sequence[Job[Any]], wait: float = 0.0) -> list[Result]:
        """Return the terminal result of every accepted task.

        Most have one before their message is gone, so nothing is waited for; one that may run only once
        is acknowledged first.
        """
        found = [job.fetch(wait) for job in jobs]
        missing = [job.id for job, one in zip(jobs, found, strict=True) if one is None]
        assert not missing, f"{len(missing)} of {len(jobs)} tasks have no result: {missing[:5]}"
        results = [one for one in found if one is not None]
        assert all(one.state.final for one in results)
        return results

    def all_succeeded(self, jobs: Sequence[Job[Any]]) -> list[Result]:
        """Return the results of tasks none of which may have failed."""
        results = self.results(jobs)
        failed = [one.error for one in results if not one.success]
        assert not failed, f"{len(failed)} tasks failed: {failed[:5]}"
        return results
