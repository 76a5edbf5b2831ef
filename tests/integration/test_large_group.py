"""A group of fifty thousand members ends once, with all they returned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration import flow_tasks
from tests.integration.land import final, lines

if TYPE_CHECKING:
    from tests.integration.land import Land

#: seconds; it takes about ten on an idle machine
WAIT = 900.0


@pytest.mark.further
def test_the_callback_of_fifty_thousand_members_is_called_once(land: Land) -> None:
    """Nothing is lost, and nobody waits for a number that is never reached."""
    app, _ = land.both(workers=2)

    job = app.group([(flow_tasks.double, (number,)) for number in range(50_000)]).then(
        (flow_tasks.total, (str(land.file()),))
    )

    assert final(job, WAIT).value == 50_000 * 49_999
    assert lines(land.file()) == ["50000"]
