"""Who only looks at a queue that does not exist creates nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore_testing.looking import LOOKS, check_looking_creates_nothing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_at_a_misspelt_name_creates_nothing(
    url: str, server: Any, namespace: str, look: str, tmp_path: Path
) -> None:
    """Whatever the command, the backend holds what it held."""

    def tables() -> list[Any]:
        with server.connect(namespace) as connection:
            query = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
            return connection.execute(query, [namespace]).fetchall()

    check_looking_creates_nothing(look, {"sql": url}, tables, tmp_path)
