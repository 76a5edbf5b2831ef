"""What a tree of processes takes: memory and processor time."""

from __future__ import annotations

import os
import time
from pathlib import Path


def tree(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            found += [int(child) for child in _read(task / "children").split()]
    return found


def _read(file: Path) -> str:
    """Return what a file says of a process or thread, nothing if that has ended meanwhile."""
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def pss_bytes(root: int) -> int:
    """Return the memory of a tree; what several processes share counts once (PSS)."""
    total = 0
    for pid in tree(root):
        for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def cpu_seconds(root: int) -> float:
    """Return the processor time a tree has used, to the nanosecond, threads that have ended included."""
    return sum(map(_clock, tree(root)))


def _clock(pid: int) -> float:
    """Return what the clock of a process shows, whose number is as `clock_getcpuclockid` of Linux has it."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:  # it has ended meanwhile
        return 0.0


def spent(root: int) -> float:
    """Return the processor time that a tree and all that has ended in it have used."""
    ticks = 0
    for pid in tree(root):
        # Of its children, after the name of the program, which may have blanks: cutime and cstime.
        ticks += sum(map(int, _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[13:15]))
    return cpu_seconds(root) + ticks / os.sysconf("SC_CLK_TCK")
