"""The broker keeps to qcore's interface, on a stand-in for IronMQ."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from qcore.interfaces import Settings
from qcore_ironmq import IronBroker, IronSettings
from qcore_testing import BrokerContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server

#: IronMQ counts whole seconds: minutes, on the oldest Python only
pytestmark = pytest.mark.slow

_numbers = itertools.count()


class ImpatientBroker(IronBroker):
    """Reserves for less than the service lets it, so that the tests need not wait."""

    least_lease = 1


class TestIronBroker(BrokerContract):
    """IronBroker keeps to Broker; IronMQ counts whole seconds."""

    time_unit = 1.0

    @pytest.fixture
    def make(self, ironmq: Server) -> Callable[..., IronBroker]:
        """Return a maker of brokers of a queue of this test alone."""
        # a name that has to be quoted
        name = f"kit:{os.getpid()}.{next(_numbers)}"
        sections = {"iron_mq": IronSettings(**ironmq.settings)}
        return lambda **fields: ImpatientBroker(Settings(name=name, sections=sections, **fields))
