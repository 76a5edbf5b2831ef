"""Weeks of schedules on a server: each slot once, whoever is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore import Config
from qcore_testing.schedule_soak import ScheduleSoak

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.early
@pytest.mark.timeout(400)
@pytest.mark.chaos
def test_each_slot_of_weeks_runs_once_though_processes_are_killed(tmp_path: Path, own: Any) -> None:
    """In one step on the schedules' own queue, in two on another; faults are those of `ScheduleSoak`."""
    config = Config.from_dict(
        {
            "name": "weeks",
            "secret_key": "the key of these tests, not of anybody else",
            "log_level": "ERROR",
            "redis": {"unix_socket_path": own.path},
        }
    )

    with ScheduleSoak(config, tmp_path, 1) as weeks:
        # half as many as those of the file
        weeks.plan(48)
        weeks.pass_by(3)
        found = weeks.work_off(120.0)

    assert found.killed > 10
    assert found.ran == found.wanted
    assert found.twice[0] == 0
