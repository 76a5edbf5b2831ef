"""A slow machine fails no rule of a contract."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest

from qcore_testing import BrokerContract
from qcore_testing.broker import QueueContract
from qcore_testing.memory import MemoryBroker, MemoryServer
from tests.conformance.running import run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.model import Delivery
    from qcore_testing.contract import Contract

pytestmark = pytest.mark.portable

#: seconds for what comes by itself
_SLOW: Final = 20.0


class SlowAtFirst(MemoryBroker):
    """Takes longer to lease than a lease lasts, as any broker does while the machine has a bad moment."""

    slow: ClassVar[int] = 0

    def lease(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Lease, and for the first times only then be slow."""
        found = super().lease(limit, wait)
        if found and self.slow:
            SlowAtFirst.slow -= 1
            threading.Event().wait(0.5)
        return found


def maker() -> Callable[..., MemoryBroker]:
    """Return a maker of brokers that are slow at first, with a queue for each name."""
    server = MemoryServer()

    def make(name: str = "kit", retry: float = 60.0, owner: bytes = b"", **fields: Any) -> MemoryBroker:
        order = fields.get("queues")
        return SlowAtFirst(server.queue(name), retry=retry, backend="kit", owner=owner, order=order)

    return make


@pytest.mark.parametrize(
    ("contract", "test", "parameters"),
    [
        (BrokerContract, "test_ack_removes", ()),
        (BrokerContract, "test_counters_outlive_a_lost_lease", ()),
        (BrokerContract, "test_a_dead_letter_keeps_reason_and_counters", ()),
        (BrokerContract, "test_another_connection_may_settle", ()),
        (BrokerContract, "test_commit_and_lease_saves_settles_and_leases", ()),
        (BrokerContract, "test_only_leases_of_the_dead_are_released", ()),
        (BrokerContract, "test_an_extended_lease_lasts", ()),
        (BrokerContract, "test_ended_receipts_do_not_stop_the_others", ()),
        (BrokerContract, "test_a_lease_is_extended_from_elsewhere", ("another connection",)),
        (QueueContract, "test_an_expired_lease_comes_back_to_its_queue", ()),
    ],
)
def test_a_slow_machine_fails_no_rule(
    contract: type[Contract], test: str, parameters: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What took longer than a lease lasts is tried again with longer ones."""
    monkeypatch.setattr(SlowAtFirst, "slow", 2)

    run(contract, test, maker(), parameters, timeout=_SLOW)

    assert not SlowAtFirst.slow
