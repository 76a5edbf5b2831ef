"""Tasks that may run only once, after the death of their cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from qcore_testing.dead_cluster import check_a_dead_cluster_leaves_no_task_behind

if TYPE_CHECKING:
    from pathlib import Path

#: which interpreter kills the cluster does not matter
pytestmark = pytest.mark.slow


def test_a_dead_cluster_leaves_no_task_behind(ironmq: Any, tmp_path: Path) -> None:
    """The next cluster of a queue at IronMQ settles them, by the results beside it."""
    settings = {
        "name": f"dead-{os.urandom(6).hex()}",
        "iron_mq": ironmq.settings,
        "result_store": "sqlite",
        "sqlite": {"path": str(tmp_path / "r.db")},
    }
    check_a_dead_cluster_leaves_no_task_behind(settings, tmp_path)
