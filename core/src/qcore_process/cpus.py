"""Decides how many CPUs this process may use, and which each worker."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: where Linux lists control groups
_CGROUPS = Path("/sys/fs/cgroup")
#: lists the groups this process is in
_MEMBERSHIP = Path("/proc/self/cgroup")


def available() -> int:
    """Return the smallest of: the CPUs of the machine, the affinity, the quotas of the control groups."""
    # not every system has affinity; macOS does not
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(quota) for quota in quotas())]))


def usable() -> list[int]:
    """Return the CPUs of this process; none where the system does not bind processes to CPUs."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def affinity(cpus: Sequence[int], workers: int, each: int) -> list[list[int]]:
    """Return the CPUs of each worker: the next `each` of them, in a circle.

    If `each` is 0, or not less than the number of CPUs, each list is empty: no affinity is set.
    """
    if each <= 0 or each >= len(cpus):
        return [[] for _ in range(workers)]
    return [[cpus[(worker * each + step) % len(cpus)] for step in range(each)] for worker in range(workers)]


def quotas(root: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> Iterator[float]:
    """Yield the number of CPUs that each control group of this process may use, if it has a limit."""
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            for folder in _group_folders(root, path):
                yield from _cpus_of(_text(folder / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for folder in _group_folders(root / controllers, path):
                yield from _cpus_of(
                    [_text(folder / f"cpu.cfs_{part}_us").strip() for part in ("quota", "period")]
                )


def _group_folders(top: Path, path: str) -> Iterator[Path]:
    """Yield the folder of a group and of all its parent groups, up to `top`."""
    # Inside a container the path may be the host's and not exist; `top` is then our own group.
    folder = top / path.lstrip("/")
    yield folder
    yield from (parent for parent in folder.parents if parent.is_relative_to(top))


def _cpus_of(words: list[str]) -> Iterator[float]:
    # `max` and -1 mean no limit
    if len(words) == 2 and all(word.isdigit() and int(word) > 0 for word in words):
        yield int(words[0]) / int(words[1])


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
