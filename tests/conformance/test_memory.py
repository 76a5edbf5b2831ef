"""The memory broker and its stores keep to their interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore.interfaces import Settings
from qcore_testing import (
    BrokerContract,
    CommitContract,
    CoordinationStoreContract,
    FireContract,
    ResultStoreContract,
    ScheduleStoreContract,
)
from qcore_testing.memory import MemorySettings, make_broker, make_coordination, make_results, make_schedules

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ResultStore, ScheduleStore

pytestmark = pytest.mark.portable


@pytest.fixture
def settings() -> Callable[..., Settings]:
    """Return a function that makes settings which share one server."""
    sections = {"memory": MemorySettings()}
    return lambda name="kit", **fields: Settings(name=name, sections=sections, **fields)


class TestMemoryBroker(BrokerContract):
    """MemoryBroker keeps to Broker."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., Broker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: make_broker(settings(**fields))


class TestMemoryResults(ResultStoreContract):
    """MemoryResults keeps to ResultStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., ResultStore]:
        """Return a maker of stores of the same results."""
        return lambda **fields: make_results(settings(**fields))


class TestMemoryCoordination(CoordinationStoreContract):
    """MemoryCoordination keeps to CoordinationStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., CoordinationStore]:
        """Return a maker of stores of the same state."""
        return lambda **fields: make_coordination(settings(**fields))


class TestMemorySchedules(ScheduleStoreContract):
    """MemorySchedules keeps to Scheduler."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., ScheduleStore]:
        """Return a maker of stores of the same schedules."""
        return lambda **fields: make_schedules(settings(**fields))


class TestMemoryExchange(CommitContract):
    """MemoryBroker and MemoryResults keep their order."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., Any]:
        """Return a maker of pairs."""
        return lambda **fields: (make_broker(settings(**fields)), make_results(settings(**fields)))


class TestMemoryFire(FireContract):
    """A slot's messages and its schedule are written together."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., Any]:
        """Return a maker of pairs."""
        return lambda **fields: (make_broker(settings(**fields)), make_schedules(settings(**fields)))
