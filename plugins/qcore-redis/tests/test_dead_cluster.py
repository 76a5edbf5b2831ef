"""Tasks that may run only once, after the death of their cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore_testing.dead_cluster import check_a_dead_cluster_leaves_no_task_behind

if TYPE_CHECKING:
    from pathlib import Path

#: which interpreter kills the cluster does not matter
pytestmark = pytest.mark.slow


def test_a_dead_cluster_leaves_no_task_behind(shared: Any, tmp_path: Path) -> None:
    """The next cluster of a queue in Redis settles them."""
    settings = {"name": "dead", "redis": {"unix_socket_path": shared.path}}
    check_a_dead_cluster_leaves_no_task_behind(settings, tmp_path)
