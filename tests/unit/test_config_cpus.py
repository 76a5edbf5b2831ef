"""The default of `workers` is what affinity and control groups leave."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qcore_process import cpus

if TYPE_CHECKING:
    from pathlib import Path


def put(root: Path, **files: str) -> None:
    """Write files of a control group; `__` stands for a folder, `_dot_` for a dot."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(root: Path, membership: str) -> list[float]:
    """Return the quotas of a process with this membership."""
    put(root, membership=membership)
    return list(cpus.quotas(root, root / "membership"))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_cpus_are_at_least_one_and_at_most_the_affinity() -> None:
    """A process does not use what it may not."""
    assert 1 <= cpus.available() <= len(os.sched_getaffinity(0))


def test_quota_of_any_group_around_the_process_counts(tmp_path: Path) -> None:
    """In a unified hierarchy a limit holds for all that is below it."""
    put(
        tmp_path,
        a__b__cpu_dot_max="200000 100000\n",
        a__cpu_dot_max="150000 100000\n",
        cpu_dot_max="max 100000\n",
    )

    assert found(tmp_path, "0::/a/b\n") == [2.0, 1.5]


def test_quota_is_found_inside_a_container(tmp_path: Path) -> None:
    """There the path may be the host's, and the top is the process's own group."""
    put(tmp_path, cpu_dot_max="50000 100000\n")

    assert found(tmp_path, "0::/system.slice/host\n") == [0.5]


def test_quota_of_the_older_hierarchy_counts(tmp_path: Path) -> None:
    """Each controller has a tree of its own, and -1 is not a limit."""
    put(
        tmp_path,
        **{
            "cpu,cpuacct__a__cpu_dot_cfs_quota_us": "300000\n",
            "cpu,cpuacct__a__cpu_dot_cfs_period_us": "100000\n",
            "cpu,cpuacct__cpu_dot_cfs_quota_us": "-1\n",
            "cpu,cpuacct__cpu_dot_cfs_period_us": "100000\n",
        },
    )

    assert found(tmp_path, "4:memory:/a\n3:cpu,cpuacct:/a\n") == [3.0]


@pytest.mark.parametrize("text", ["", "max 100000", "0 100000", "x y", "100000"])
def test_limit_that_is_none_is_passed_over(tmp_path: Path, text: str) -> None:
    """Whatever else stands there is no limit."""
    put(tmp_path, cpu_dot_max=text)

    assert found(tmp_path, "0::/\n") == []


def test_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    """Other systems have other means."""
    assert list(cpus.quotas(tmp_path, tmp_path / "membership")) == []
