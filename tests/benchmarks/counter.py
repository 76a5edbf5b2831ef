"""Shared memory in which tasks note that they ran, outside of any queue."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import Final

#: names the file to the processes of a peer
VARIABLE: Final = "BENCH_HITS"


class Hits:
    """For each task how often it ran and when it last did; every process of a peer maps it."""

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            memory = memoryview(mmap.mmap(file.fileno(), 0))
        self.size = len(memory) // 9
        #: monotonic nanoseconds, the same clock in every process
        self.stamps = memory[: 8 * self.size].cast("q")
        self._counts = memory[8 * self.size :]

    @classmethod
    def create(cls, path: Path, size: int) -> Hits:
        """Make the file for tasks 0 to `size` - 1, none of which has run."""
        path.write_bytes(bytes(9 * size))
        return cls(str(path))

    def hit(self, index: int) -> None:
        """Note that a task ran: this is all the work there is in a task of the benchmark."""
        self.stamps[index] = time.monotonic_ns()
        # A byte of its own for each task: two processes meet here only if one task runs twice.
        self._counts[index] += 1

    def ran(self, index: int) -> bool:
        """Return whether a task has run."""
        return self.stamps[index] != 0

    def missing(self) -> int:
        """Return how many tasks have not run."""
        return bytes(self._counts).count(0)

    def doubled(self) -> int:
        """Return how many tasks ran more than once."""
        return self.size - self.missing() - bytes(self._counts).count(1)

    def seconds(self) -> float:
        """Return the time from the first hit to the last."""
        stamps = [stamp for stamp in self.stamps if stamp]
        return (max(stamps) - min(stamps)) / 1e9


def ours() -> Hits:
    """Return the hits of the running measurement, named by the environment."""
    return Hits(os.environ[VARIABLE])
