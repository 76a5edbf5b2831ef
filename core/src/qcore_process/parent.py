"""What becomes of a process when its parent ends."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from qcore_process.forked import EX_SOFTWARE

if TYPE_CHECKING:
    from collections.abc import Callable

#: prctl(2): the signal this process gets when the thread that forked it ends
_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent ends; leave at once if it has."""
    _at_parents_end(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EX_SOFTWARE)


def wake_with_parent() -> None:
    """Have the kernel resume this process when its parent ends, instead of killing it.

    It then sees the end of the channel, even if somebody had stopped it.
    """
    _at_parents_end(signal.SIGCONT)


def _at_parents_end(number: signal.Signals) -> None:
    if sys.platform == "linux":
        _prctl()(_PR_SET_PDEATHSIG, number)


@functools.cache
def _prctl() -> Callable[[int, int], int]:
    # Found once, before workers are forked.
    return ctypes.CDLL(None, use_errno=True).prctl
