"""How much memory processes and the machine use."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable


#: Seconds between two measurements, because for each the kernel counts every page of every process.
_EVERY: Final = 10.0
_PROC: Final = Path("/proc")
_KIB: Final = 1024


@attrs.frozen
class Usage:
    """Memory of one process, bytes; 0 = not known."""

    rss: int = 0
    #: a shared page counts in part for each process that shares it
    pss: int = 0
    #: the most that was ever resident
    peak: int = 0


class Memory:
    """The last measurement of a cluster's processes; only one thread measures."""

    def __init__(self) -> None:
        self._usage: dict[int, Usage] = {}
        self._machine = (0, 0)
        self._measured = -_EVERY

    def measure(self, pids: Iterable[int]) -> None:
        """Measure processes again, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._measured >= _EVERY:
            self._measured = now
            self._usage = {pid: usage_of(pid) for pid in {*pids, os.getpid()} if pid}
            self._machine = machine()

    def attach(self, status: Any) -> Any:  # noqa: ANN401 - a `qcore.status.ClusterStatus`
        """Return a status with the last measurement."""
        usage = self._usage
        none = Usage()
        ours = usage.get(os.getpid(), none)
        workers = tuple(
            attrs.evolve(one, rss=seen.rss, pss=seen.pss, peak=seen.peak)
            for one in status.workers
            for seen in (usage.get(one.pid, none),)
        )
        total, available = self._machine
        return attrs.evolve(
            status,
            workers=workers,
            rss=ours.rss,
            pss=ours.pss,
            memory_total=total,
            memory_available=available,
        )


def usage_of(pid: int) -> Usage:
    """Return the memory of a process as the kernel reports it; zeros where there is no /proc."""
    status = _kilobytes(_PROC / str(pid) / "status")
    # It may belong to another user, or have just ended.
    rolled = _kilobytes(_PROC / str(pid) / "smaps_rollup")
    return Usage(status.get("VmRSS", 0), rolled.get("Pss", 0), status.get("VmHWM", 0))


def machine() -> tuple[int, int]:
    """Return the memory of the machine and how much of it is available; zeros where that is unknown."""
    found = _kilobytes(_PROC / "meminfo")
    return found.get("MemTotal", 0), found.get("MemAvailable", 0)


def _kilobytes(file: Path) -> dict[str, int]:
    try:
        text = file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    return {name: int(count) * _KIB for name, count in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
