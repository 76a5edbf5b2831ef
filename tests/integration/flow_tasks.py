"""Tasks that are links, members, callbacks and hooks."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.tasks import app, hold, note

if TYPE_CHECKING:
    from qcore import Result


def step(path: str, text: str) -> str:
    """Note the run, and return the text."""
    note(path, text)
    return text


def after(before: Any, path: str, text: str) -> str:
    """Note what the link before returned, and add to it."""
    note(path, f"{before}+{text}")
    return f"{before}+{text}"


def refuse(path: str, text: str = "no") -> None:
    """Note the run, and fail."""
    note(path, text)
    raise ValueError(text)


def fall(path: str) -> None:
    """Note the run, and take the worker along."""
    note(path, "fell")
    os.kill(os.getpid(), signal.SIGKILL)


def hang(path: str) -> None:
    """Note the run, and hang in one call that no exception ends."""
    note(path, "hung")
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(60)


def wait_for(path: str, number: int) -> int:
    """Return once a file is there."""
    hold(path)
    return number


def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


def total(numbers: list[int], path: str | None = None) -> int:
    """Return the sum; note that it was asked for."""
    if path is not None:
        note(path, f"{len(numbers)}")
    return sum(numbers)


def tell(results: list[Result]) -> list[str]:
    """Return how the members ended."""
    return [str(one.value) if one.success else f"{one.kind}: {one.error}" for one in results]


def hook(result: Result) -> None:
    """Note how a task ended, where its label says."""
    note(str(result.label), f"{result.kind} {result.value} {result.error.partition(':')[0]}")


def broken_hook(result: Result) -> None:
    """Note the call, and fail."""
    note(str(result.label), "called")
    raise RuntimeError(result.id)


def large(size: int) -> bytes:
    """Return so many bytes."""
    return bytes(size)


def note_and_return(path: str, text: str) -> str:
    """Note the run, and return the text."""
    note(path, "ran")
    return text


def total_or_fail(numbers: list[int], path: str) -> int:
    """Return the sum if a file is there."""
    Path(path).read_text()
    return sum(numbers)


def size(value: bytes) -> int:
    """Return how many bytes these are."""
    return len(value)


@app.task(max_crashes=1)
def crash_once(path: str) -> None:
    """Take the worker along, under a smaller limit than the configuration's."""
    fall(path)


@app.task(max_crashes=4)
def crash_four(path: str) -> None:
    """Take the worker along, under a larger limit than the configuration's."""
    fall(path)
