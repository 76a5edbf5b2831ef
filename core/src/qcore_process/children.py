"""Ends the processes that an interrupted task has started."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger("qcore.worker")

#: Rounds of looking for processes; one that is about to be killed may start another.
_ROUNDS: Final = 20
#: Positions in /proc/PID/stat behind the name: state, process group, start in clock ticks.
_STATE: Final = 0
_GROUP: Final = 2
_START: Final = 19


def end_children(began: float) -> None:
    """Kill the processes of this worker's process group that were started since `began`.

    Those that are older belong to tasks before, or to a library. Those that have left the group are
    meant to live on. The kernel counts in hundredths of a second: a process that was started in the
    same hundredth as the task, and before it, is taken for one of the task's.

    Args:
        began: when the task began, epoch seconds.

    """
    if sys.platform != "linux":
        return
    # The kernel counts from boot, in ticks; both clocks are read here, so that a step of the wall
    # clock during the task is all that could make a difference.
    ago = time.time() - began
    since = int((time.clock_gettime(time.CLOCK_BOOTTIME) - ago) * os.sysconf("SC_CLK_TCK"))
    killed = 0
    for _ in range(_ROUNDS):
        found = list(_started_since(since))
        if not found:
            break
        killed += sum(map(_kill, found))
    if killed:
        _log.warning("processes of the interrupted task were killed: %d", killed)


def _started_since(since: int) -> Iterator[int]:
    own, group = os.getpid(), os.getpgrp()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == own:
            continue
        try:
            # The name, in parentheses, may contain anything.
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        alive = fields[_STATE] not in {b"Z", b"X"}
        if alive and int(fields[_GROUP]) == group and int(fields[_START]) >= since:
            yield int(entry.name)


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
