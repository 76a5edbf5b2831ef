"""When messages that have ended are forgotten."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qcore.model import Settlement
from qcore_sql.ended import TRIM, Ended

pytestmark = pytest.mark.portable


def test_workers_that_are_replaced_soon_forget_what_has_ended() -> None:
    """Each remembers a few only, and another one goes on."""
    runs: list[Any] = []
    session: Any = SimpleNamespace(insert=lambda *_, **__: None, run=lambda what, **_: runs.append(what))

    for _ in range(2000):
        Ended(window=60.0, limit=100).add(session, "kit", [Settlement(b"receipt", id=bytes(16))])

    assert TRIM in runs
    assert len(runs) < 200
