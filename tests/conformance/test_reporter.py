"""The log reporter keeps to its interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore_reports.log_reporter import LogReporter
from qcore_testing import ErrorReporterContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import ErrorReporter


class TestLogReporter(ErrorReporterContract):
    """LogReporter keeps to ErrorReporter."""

    @pytest.fixture
    def make(self) -> Callable[[], ErrorReporter]:
        """Return the class."""
        return LogReporter

    @pytest.fixture
    def received(self, caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
        """Return what reads the log."""
        return lambda: caplog.text
