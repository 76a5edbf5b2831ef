"""The interfaces are kept to by a program's own connection of Django's as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from . import test_contract as direct

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_testing.contract import Outage
    from qcore_testing.processes import Child

pytestmark = [pytest.mark.slow, pytest.mark.further]


class _ByDjango:
    """The connection of Django's is open in the thread of the test."""

    @pytest.fixture(params=["postgresql18", "mariadb"])
    def server(self, request: pytest.FixtureRequest) -> Any:
        """Return each kind of server; on an SQLite file it is used inside of transactions alone."""
        return request.getfixturevalue(request.param)

    @pytest.fixture(autouse=True)
    def opened(self, alias: str) -> None:
        """Open the connection."""
        connections[alias].ensure_connection()

    @pytest.fixture
    def freeze_server(self) -> Outage:
        """Django's connection waits as long as the site says."""
        pytest.skip("how long Django's connection waits is the site's to say")

    def child(self, work: Callable[[Callable[[str], None]], None]) -> Child:
        """Close it before a fork, as a site does."""
        connections.close_all()
        found: Child = super().child(work)  # type: ignore[misc]  # it is that of a contract
        return found


class TestBroker(_ByDjango, direct.TestOrmBroker):
    """OrmBroker keeps to Broker."""


class TestResults(_ByDjango, direct.TestOrmResults):
    """OrmResults keeps to ResultStore."""


class TestCommit(_ByDjango, direct.TestOrmCommit):
    """Broker and store of one queue are written in one transaction."""


class TestCoordination(_ByDjango, direct.TestOrmCoordination):
    """OrmCoordination keeps to CoordinationStore."""


class TestSchedules(_ByDjango, direct.TestOrmSchedules):
    """OrmSchedules keeps to ScheduleStore."""


class TestFire(_ByDjango, direct.TestOrmFire):
    """A slot's messages and its schedule are written together."""
