"""Who only looks at a queue that does not exist creates nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore_testing.looking import LOOKS, check_looking_creates_nothing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_at_a_misspelt_name_creates_nothing(shared: Any, look: str, tmp_path: Path) -> None:
    """Whatever the command, the backend holds what it held."""
    check_looking_creates_nothing(
        look, {"redis": {"unix_socket_path": shared.path}}, lambda: sorted(shared.client().keys()), tmp_path
    )
