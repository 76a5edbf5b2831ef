"""Tasks that may run only once, after the death of their cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore_testing.dead_cluster import check_a_dead_cluster_leaves_no_task_behind

if TYPE_CHECKING:
    from pathlib import Path

#: which interpreter kills the cluster does not matter
pytestmark = pytest.mark.slow


def test_a_dead_cluster_leaves_no_task_behind(replicated: Any, database: str, tmp_path: Path) -> None:
    """The next cluster of a queue in MongoDB settles them."""
    settings = {"name": "kit", "mongo": replicated.settings, "mongo_db": database}
    check_a_dead_cluster_leaves_no_task_behind(settings, tmp_path)
