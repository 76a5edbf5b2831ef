"""A task that waits for another one of its own worker is named in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration import tasks
from tests.integration.land import final

if TYPE_CHECKING:
    from tests.integration.land import Land

pytestmark = pytest.mark.portable

WARNING = "wait_for_another waits for task"


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_task_of_the_only_worker_that_waits_for_another_is_warned_of_once(
    land: Land, capfd: pytest.CaptureFixture[str], workers: int, *, many: bool
) -> None:
    """It says so at once, and with the name; with a second worker there is nothing to say."""
    app, cluster = land.both(workers=workers)

    assert final(app.enqueue(tasks.wait_for_another, land.settings(workers=4), many)).success
    cluster.stop()

    said = [line for line in capfd.readouterr().err.splitlines() if WARNING in line]
    assert len(said) == (1 if workers == 1 else 0)
    assert all("queue land" in line and "raise workers" in line for line in said)
