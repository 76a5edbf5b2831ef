"""Tasks that may run only once, after the death of their cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore_testing.dead_cluster import check_a_dead_cluster_leaves_no_task_behind

if TYPE_CHECKING:
    from pathlib import Path

#: which interpreter kills the cluster does not matter
pytestmark = pytest.mark.slow


@pytest.fixture(params=["postgresql18", "mariadb"])
def server(request: pytest.FixtureRequest) -> Any:
    """Return each kind of server."""
    return request.getfixturevalue(request.param)


def test_a_dead_cluster_leaves_no_task_behind(url: str, tmp_path: Path) -> None:
    """The next cluster of a queue in a database settles them."""
    settings = {"name": "dead", "sql": url}
    check_a_dead_cluster_leaves_no_task_behind(settings, tmp_path)
