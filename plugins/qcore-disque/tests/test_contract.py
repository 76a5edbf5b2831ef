"""The broker keeps to qcore's interface, on a stand-in for Disque."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from qcore.interfaces import Settings
from qcore.testing import BrokerContract
from qcore_disque import DisqueBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server

#: Disque counts whole seconds: minutes, on the oldest Python only
pytestmark = pytest.mark.slow

_numbers = itertools.count()


class TestDisqueBroker(BrokerContract):
    """DisqueBroker keeps to Broker; Disque counts whole seconds."""

    tick = 1.0
    # the clock of the server looks ten times a second
    tolerance = 0.15

    @pytest.fixture
    def make(self, disque: Server) -> Callable[..., DisqueBroker]:
        """Return a maker of brokers of a queue of this test alone."""
        name = f"kit-{os.getpid()}-{next(_numbers)}"
        sections = {"disque_nodes": [disque.node]}
        return lambda **fields: DisqueBroker(Settings(name=name, sections=sections, **fields))
