"""Tasks that note when they run, for limits."""

from __future__ import annotations

import os
import time

from tests.integration.tasks import hold, note


def span(path: str, seconds: float = 0.05) -> None:
    """Note when it begins and when it ends."""
    note(path, f"+{os.getpid()} {time.time()}")
    time.sleep(seconds)
    note(path, f"-{os.getpid()} {time.time()}")


def begin(path: str, gate: str) -> None:
    """Note that it begins, and wait until a file is there."""
    note(path, "begun")
    hold(gate)


def stamp(path: str) -> None:
    """Note the time."""
    note(path, str(time.time()))


def most_at_once(lines: list[str]) -> int:
    """Return how many spans were open at the same time."""
    running = most = 0
    for line in lines:
        running += 1 if line.startswith("+") else -1
        most = max(most, running)
    return most
