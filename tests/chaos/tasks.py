"""Tasks that leave a durable trace of each of their runs."""

from __future__ import annotations

import os
import signal
import time

#: queues and priorities of tasks that are spread: every third is as one that names neither
ROUTES = (("default", 0), ("mail", 5), ("reports", 0), ("default", 0), ("mail", -5), ("reports", 5))


def record(path: str, number: int, seconds: float = 0.0) -> int:
    """Write down that this task has run, in one write that is whole or not at all."""
    _write(path, number)
    if seconds:
        time.sleep(seconds)
    return number


def gather(numbers: list[int], path: str, number: int) -> list[int]:
    """Write down that this task has run, and return what others did."""
    _write(path, number)
    return numbers


def fail(path: str, number: int) -> None:
    """Write down the run, and fail."""
    _write(path, number)
    raise ValueError(number)


def segfault(path: str, number: int) -> None:
    """Write down the run, and take the worker along."""
    _write(path, number)
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(path: str, number: int) -> None:
    """Write down the run, and end the worker without a word."""
    _write(path, number)
    os._exit(0)


def stubborn(path: str, number: int, seconds: float) -> int:
    """Take this long, deaf to every signal that can be blocked."""
    _write(path, number)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(seconds)
    return number


def _write(path: str, number: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, b"%d\n" % number)
    os.close(fd)
