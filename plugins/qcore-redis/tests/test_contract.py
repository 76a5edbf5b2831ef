"""Broker, results and schedules keep to qcore's interfaces, on every server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore.interfaces import Settings
from qcore_redis import RedisBroker, RedisResults, RedisSchedules, RedisSettings
from qcore_redis.coordination import make_coordination
from qcore_testing import (
    BrokerContract,
    CommitContract,
    CoordinationStoreContract,
    FireContract,
    ResultStoreContract,
    ScheduleStoreContract,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.coordination import CoordinationStore
    from qcore_testing.contract import Outage


#: what the server does does not depend on the interpreter: on the oldest Python only
pytestmark = pytest.mark.slow


class _Fresh:
    """A connection to a server that is empty at the start of each test."""

    @pytest.fixture
    def settings(self, any_server: Any) -> Callable[..., Settings]:
        """Return a maker of settings of one queue."""
        with any_server.client() as client:
            client.flushall()
        sections = {"redis": RedisSettings(unix_socket_path=any_server.path)}
        return lambda name="kit", **fields: Settings(name=name, sections=sections, **fields)


class TestRedisBroker(_Fresh, BrokerContract):
    """RedisBroker keeps to Broker."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., RedisBroker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: RedisBroker(settings(**fields))

    @pytest.fixture
    def restart_server(self, any_server: Any) -> Outage:
        """Return what kills the server for a while."""
        found: Outage = any_server.away
        return found

    @pytest.fixture
    def freeze_server(self, any_server: Any) -> Outage:
        """Return what stops the server for a while."""
        found: Outage = any_server.frozen
        return found


class TestRedisResults(_Fresh, ResultStoreContract):
    """RedisResults keeps to ResultStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., RedisResults]:
        """Return a maker of stores of the same results."""
        return lambda **fields: RedisResults(settings(**fields))


class TestRedisExchange(_Fresh, CommitContract):
    """Broker and store of one queue keep their order."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[RedisBroker, RedisResults]]:
        """Return a maker of pairs."""
        return lambda **fields: (RedisBroker(settings(**fields)), RedisResults(settings(**fields)))


class TestRedisCoordination(_Fresh, CoordinationStoreContract):
    """RedisCoordination keeps to CoordinationStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., CoordinationStore]:
        """Return a maker of stores of the same state."""
        return lambda **fields: make_coordination(settings(**fields))


class TestRedisSchedules(_Fresh, ScheduleStoreContract):
    """RedisSchedules keeps to Scheduler."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., RedisSchedules]:
        """Return a maker of stores of the same schedules."""
        return lambda **fields: RedisSchedules(settings(**fields))


class TestRedisFire(_Fresh, FireContract):
    """A slot's messages and its schedule are written together."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[RedisBroker, RedisSchedules]]:
        """Return a maker of pairs."""
        return lambda **fields: (RedisBroker(settings(**fields)), RedisSchedules(settings(**fields)))
