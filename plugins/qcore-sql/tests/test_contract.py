"""Broker, results, schedules and coordination keep to qcore's interfaces on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qcore.interfaces import Settings
from qcore_sql import SqlBroker, SqlCoordination, SqlResults, SqlSchedules, SqlSettings
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

    from qcore_testing.contract import Outage


#: what the server does does not depend on the interpreter: on the oldest Python only
pytestmark = pytest.mark.slow


class _Fresh:
    """A database that is new in each test."""

    @pytest.fixture
    def short(self) -> dict[str, float]:
        """Return settings of time limits, none unless a test asks for them."""
        return {}

    @pytest.fixture
    def settings(self, url: str, short: dict[str, float]) -> Callable[..., Settings]:
        """Return a maker of settings of one queue."""

        def make(name: str = "kit", **fields: Any) -> Settings:
            return Settings(name=name, sections={"sql": SqlSettings(url=url, **short)}, **fields)

        return make


class TestSqlBroker(_Fresh, BrokerContract):
    """SqlBroker keeps to Broker."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., SqlBroker]:
        """Return a maker of brokers of one queue."""
        return lambda **fields: SqlBroker(settings(**fields))

    @pytest.fixture
    def restart_server(self, server: Any) -> Outage:
        """Return what kills the server for a while."""
        found: Outage = server.away
        return found

    @pytest.fixture
    def freeze_server(self, server: Any, short: dict[str, float]) -> Outage:
        """Return what stops the server for a while; brokers wait a shorter time than users' do."""
        short.update(timeout=1.0, connect_timeout=1.0)
        found: Outage = server.frozen
        return found


class TestSqlResults(_Fresh, ResultStoreContract):
    """SqlResults keeps to ResultStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., SqlResults]:
        """Return a maker of stores of the same results."""
        return lambda **fields: SqlResults(settings(**fields))


class TestSqlCommit(_Fresh, CommitContract):
    """Broker and store of one queue are written in one transaction."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[SqlBroker, SqlResults]]:
        """Return a maker of pairs."""
        return lambda **fields: (SqlBroker(settings(**fields)), SqlResults(settings(**fields)))


class TestSqlCoordination(_Fresh, CoordinationStoreContract):
    """SqlCoordination keeps to CoordinationStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., SqlCoordination]:
        """Return a maker of stores of the same state."""
        return lambda **fields: SqlCoordination(settings(**fields))


class TestSqlSchedules(_Fresh, ScheduleStoreContract):
    """SqlSchedules keeps to ScheduleStore."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., SqlSchedules]:
        """Return a maker of stores of the same schedules."""
        return lambda **fields: SqlSchedules(settings(**fields))


class TestSqlFire(_Fresh, FireContract):
    """A slot's messages and its schedule are written together."""

    @pytest.fixture
    def make(self, settings: Callable[..., Settings]) -> Callable[..., tuple[SqlBroker, SqlSchedules]]:
        """Return a maker of pairs."""
        return lambda **fields: (SqlBroker(settings(**fields)), SqlSchedules(settings(**fields)))
