"""SqsBroker fulfils its contract, on a standard and on a FIFO queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from qcore.interfaces import Settings
from qcore_sqs import SqsBroker, client, dead_letters
from qcore_testing import BrokerContract
from qcore_testing.processes import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore_testing.contract import Outage


#: SQS counts whole seconds: minutes, on the oldest Python only
pytestmark = pytest.mark.slow


class _Sqs(BrokerContract):
    """The settings of the contract for all queues of SQS."""

    #: SQS counts in whole seconds
    time_unit: ClassVar[float] = 1.0
    #: it keeps no order, even if moto does
    ordered: ClassVar[bool] = False
    crowd: ClassVar[int] = 120
    fields: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def make(self, section: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., SqsBroker]:
        """Return a factory of brokers of one queue."""
        # seconds for which letters are invisible when a process dies that reads them
        monkeypatch.setattr(dead_letters, "_READING", 6)
        sections = {"sqs": section(**self.fields)}
        return lambda name="kit", **fields: SqsBroker(Settings(name=name, sections=sections, **fields))

    @pytest.fixture
    def freeze_server(self, sqs: Any, monkeypatch: pytest.MonkeyPatch) -> Outage:
        """Return what stops the server for a while."""
        # seconds of an answer: nobody need wait for them as long as users do
        monkeypatch.setattr(client, "_ANSWER", 2)
        monkeypatch.setattr(client, "MAX_POLL", 1)
        return lambda: frozen(sqs.pid)


class TestSqsBroker(_Sqs):
    """SqsBroker fulfils the contract of Broker on a standard queue."""


class TestFifoBroker(_Sqs):
    """SqsBroker fulfils the contract of Broker on a FIFO queue."""

    fields: ClassVar[dict[str, Any]] = {"fifo": True}
