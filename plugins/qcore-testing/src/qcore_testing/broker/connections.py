"""Connections are made, kept and closed; none is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from qcore_testing.broker.base import BrokerTests, acks
from qcore_testing.contract import skip_unless

if TYPE_CHECKING:
    from qcore.interfaces import Broker
    from qcore_testing.broker.base import MakeBroker

_OPEN: Final = Path("/proc/self/fd")
#: calls of each kind: more than any pool keeps open
_MANY: Final = 15
#: brokers that are made and closed
_FEW: Final = 5


class ConnectionRules(BrokerTests):
    """What a process that runs for months would run out of."""

    @pytest.fixture(autouse=True)
    def _countable(self, request: pytest.FixtureRequest) -> None:
        if request.function.__name__ in vars(ConnectionRules) and not _OPEN.is_dir():
            pytest.skip("this system does not list the open files of a process")

    def test_calls_leave_nothing_open(self, new: MakeBroker) -> None:
        """A broker holds the same connections however often it is called."""
        broker = new()
        self.work(broker)
        before = opened()

        for _ in range(_MANY):
            self.work(broker)

        more = opened() - before
        assert more < _MANY, f"{more} more files are open after {_MANY} leases"

    def test_close_closes(self, new: MakeBroker, make: MakeBroker) -> None:
        """Let go of connections; calling it twice is harmless."""
        skip_unless(new().capabilities.cross_process, "has no connections")
        first = make()
        self.work(first)
        first.close()
        before = opened()

        closed = [make() for _ in range(_FEW)]
        for broker in closed:
            self.work(broker)
            broker.close()

        # a library may close what its own threads use a moment later
        for _ in self.deadline():
            if (more := opened() - before) < _FEW:
                break
            self.let_pass(0.02)
        assert more < _FEW, f"{more} more files are open after {_FEW} brokers were closed"

    def work(self, broker: Broker) -> None:
        """Do what a worker does."""
        self.put(broker, b"work")
        leased = [self.one(broker)]
        broker.settle(acks(leased))
        broker.lease(1, 0.0)
        broker.size()
        broker.ping()


def opened() -> int:
    """Return how many files and sockets this process has open."""
    return sum(1 for _ in _OPEN.iterdir())
