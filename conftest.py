"""What holds for the tests of every package: supervisors are forked, not started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import qcore.cluster
from tests.forkserver import ForkServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _supervisors_are_forked() -> Iterator[None]:
    """Fork supervisors of a process that has imported what they need; a test has hundreds of them."""
    if not ForkServer.works_here():
        yield
        return
    server = ForkServer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qcore.cluster, "start_interpreter", server.run)
        yield
    server.close()
