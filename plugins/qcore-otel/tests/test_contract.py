"""OtelReporter fulfils the contract of an error reporter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore_otel import OtelReporter
from qcore_testing import ErrorReporterContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Collector


class TestOtelReporter(ErrorReporterContract):
    """OtelReporter keeps to ErrorReporter."""

    @pytest.fixture
    def make(self, collector: Collector) -> Callable[[], OtelReporter]:
        """Return what makes a reporter."""
        del collector
        return OtelReporter

    @pytest.fixture
    def received(self, collector: Collector) -> Callable[[], str]:
        """Return what reads what the service got."""
        return collector.text
