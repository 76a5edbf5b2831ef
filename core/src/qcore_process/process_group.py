"""Ends what a worker has started, together with it."""

from __future__ import annotations

import logging
import os
import signal

_log = logging.getLogger("qcore.zygote")


def kill_group(pid: int) -> None:
    """Kill the process group of a worker: the worker, and its children that have not left the group.

    A pid that is the name of a group is not given to another process, so this hits nobody else even
    if the worker itself has ended.
    """
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError) as exc:
        _log.debug("no process group %d: %s", pid, exc)


def kill(pid: int) -> None:
    """Kill a worker that is not reaped yet, and leave its children alone."""
    os.kill(pid, signal.SIGKILL)
