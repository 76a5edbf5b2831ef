"""How a process is named and awaited that may not be ours."""

from __future__ import annotations

import logging
import os
import select
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger("qcore.zygote")


def pidfd_of(pid: int) -> int | None:
    """Return a descriptor of a child; None where the kernel has none."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as exc:
        # An old kernel or a sandbox; signals to workers then go through this process.
        _log.debug("no pidfd of worker %d: %s", pid, exc)
        return None


def ended(pidfd: int, seconds: float = 0.0) -> bool:
    """Wait for a process to end; return whether it has."""
    # Not select(), which takes no numbers above 1023.
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def await_end(pidfds: Sequence[int], seconds: float) -> None:
    """Wait until killed processes have ended that are not children of this process."""
    end = time.monotonic() + seconds
    for fd in pidfds:
        ended(fd, max(0.0, end - time.monotonic()))
