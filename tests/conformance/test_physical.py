"""Brokers of one queue each are a broker of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore.interfaces import Settings
from qcore_testing.broker import DECLARED, QueueContract
from qcore_testing.memory import MemorySettings
from tests.conformance.physical import PhysicalMemory
from tests.conformance.running import run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker
    from qcore.model import Delivery

pytestmark = pytest.mark.portable


def maker(kind: type[PhysicalMemory] = PhysicalMemory) -> Callable[..., Broker]:
    """Return a maker of brokers of one name."""
    sections = {"memory": MemorySettings()}
    return lambda name="kit", poll=0.02, **fields: kind(
        Settings(name=name, sections=sections, poll=poll, **fields), DECLARED
    )


class TestPhysicalMemory(QueueContract):
    """PhysicalQueues keeps to what Broker says of queues, whatever stands behind it."""

    @pytest.fixture
    def make(self) -> Callable[..., Broker]:
        """Return a maker of brokers of one name."""
        return maker()


class LeavesNothingOut(PhysicalMemory):
    """Leases from paused queues."""

    def leased_from(self, routes: Sequence[object]) -> Sequence[object]:  # type: ignore[override]  # of any kind
        """Return all."""
        return routes


class KeepsWhatCame(PhysicalMemory):
    """Hands out what came while a queue was paused."""

    def _seconds(self, rest: float) -> int:
        return 1 if rest else 0

    def kept(self, found: Sequence[Delivery]) -> Sequence[Delivery]:
        """Return all."""
        return found


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (LeavesNothingOut, "test_a_queue_is_left_out"),
        (KeepsWhatCame, "test_a_queue_is_paused_while_it_is_waited_at"),
    ],
)
def test_a_broker_that_ignores_a_pause_fails(wrong: type[PhysicalMemory], test: str) -> None:
    """The sound one passes the same test."""
    run(QueueContract, test, maker(), ())
    with pytest.raises(AssertionError):
        run(QueueContract, test, maker(wrong), ())
