"""How often a cluster publishes its status."""

from __future__ import annotations

import pytest

from qcore.supervision.status_report import publish_every


@pytest.mark.parametrize(
    ("state", "before", "guard_cycle", "seconds"),
    [
        # nothing has changed
        ("working", "working", 0.5, 0.5),
        ("idle", "idle", 0.5, 5.0),
        ("idle", "idle", 7.0, 7.0),
        # it begins and ends
        ("starting", "", 0.5, 0.0),
        ("idle", "starting", 0.5, 0.0),
        ("stopping", "working", 0.5, 0.0),
        # short tasks come one by one
        ("working", "idle", 0.5, 0.2),
        ("idle", "working", 0.5, 0.2),
        ("working", "idle", 0.1, 0.1),
    ],
)
def test_a_change_is_published_at_once_unless_it_comes_often(
    state: str, before: str, guard_cycle: float, seconds: float
) -> None:
    """Each takes a request of the broker, and short tasks would cause many in a second."""
    assert publish_every(state, before, guard_cycle) == seconds
