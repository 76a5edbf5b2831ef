"""Who only looks at a queue that does not exist creates nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore_testing.looking import LOOKS, check_looking_creates_nothing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_at_a_misspelt_name_creates_nothing(disque: Any, look: str, tmp_path: Path) -> None:
    """Whatever the command, the nodes hold what they held, and no file of results is made here.

    Disque cannot tell a queue that is missing from one that is empty.
    """
    results = {"result_store": "sqlite", "sqlite": {"path": "results.db"}}
    settings = {"disque_nodes": disque.nodes, **results}
    # a queue that was asked for a job is there for a while, without any
    check_looking_creates_nothing(look, settings, lambda: disque.ask("QSCAN", "MINLEN", 1), tmp_path)
