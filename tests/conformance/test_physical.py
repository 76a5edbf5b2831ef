"""Brokers of one queue each are a broker of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from qcore.interfaces import Settings
from qcore_queues.order import QueueOrder
from qcore_queues.routes import check_declared
from qcore_testing.broker import DECLARED, PhysicalQueueContract, QueueContract
from qcore_testing.broker.base import message
from qcore_testing.memory import MemorySettings
from tests.conformance.physical import PhysicalMemory, memory_name, one_queue
from tests.conformance.running import run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.interfaces import Broker
    from qcore.model import Delivery
    from qcore_queues.routes import Route

pytestmark = pytest.mark.portable


def declaring(kind: type[PhysicalMemory] = PhysicalMemory) -> Callable[..., Broker]:
    """Return a maker of brokers of one name."""
    sections = {"memory": MemorySettings()}

    def declare(
        declared: Sequence[str] = (),
        *,
        priorities: bool = False,
        order: QueueOrder | None = None,
        name: str = "kit",
        poll: float = 0.02,
        **fields: Any,
    ) -> Broker:
        settings = Settings(name=name, poll=poll, queues=order, sections=sections, **fields)
        if declared or priorities:
            check_declared(declared)
            return kind(settings, declared, priorities=priorities)
        return one_queue(settings)

    return declare


def maker(kind: type[PhysicalMemory] = PhysicalMemory) -> Callable[..., Broker]:
    """Return a maker of brokers with the queues of the contract."""
    declare = declaring(kind)
    return lambda queues=None, **fields: declare(DECLARED, priorities=True, order=queues, **fields)


class TestPhysicalMemory(PhysicalQueueContract):
    """PhysicalQueues keeps to what Broker says of queues, whatever stands behind it."""

    queues_setting: ClassVar[str] = "queues"
    priorities_setting: ClassVar[str] = "priorities"
    makes_queues: ClassVar[bool] = False

    @pytest.fixture
    def declare(self) -> Callable[..., Broker]:
        """Return a maker of brokers of one name."""
        return declaring()

    @classmethod
    def physical_names(cls, name: str, route: Route) -> set[str]:
        """Return the name in memory, where dead letters are in no other queue."""
        return {memory_name(name, route), f"{memory_name(name, route)}/dead"}


class LeavesNothingOut(PhysicalMemory):
    """Leases from paused queues."""

    def leased_from(self, routes: Sequence[object]) -> Sequence[object]:  # type: ignore[override]  # of any kind
        """Return all."""
        return routes

    def kept(self, found: Sequence[Delivery]) -> Sequence[Delivery]:
        """Return all."""
        return found


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


class PausedMeanwhile(PhysicalMemory):
    """Has a queue paused while the first request to it is under way."""

    paused: ClassVar[set[str]] = set()
    asked: ClassVar[int] = 0

    def take(self, route: Route, limit: int, seconds: int) -> Sequence[Delivery]:
        """Lease from it all the same, as a service does that knows of no pause."""
        PausedMeanwhile.asked += 1
        if self.asked == 1:
            self.paused.add(route.queue)
        return super().take(route, limit, seconds)


def test_a_queue_is_paused_while_a_request_is_under_way() -> None:
    """What the request brings is released, though it waited for nothing."""
    broker = maker(PausedMeanwhile)(queues=QueueOrder(["mail"]), left_out=PausedMeanwhile.paused)
    broker.enqueue([message(b"late", queue="mail", priority=9)])

    assert broker.lease(1, 0.0) == ()
    PausedMeanwhile.paused.clear()
    (late,) = broker.lease(1, 0.0)
    assert (late.body, late.deliveries) == (b"late", 1)
