"""SentryReporter fulfils the contract of an error reporter."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from qcore_sentry import SentryReporter
from qcore_testing import ErrorReporterContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Sentry


class TestSentryReporter(ErrorReporterContract):
    """SentryReporter keeps to ErrorReporter."""

    @pytest.fixture
    def make(self, sentry: Sentry) -> Callable[[], SentryReporter]:
        """Return what makes a reporter."""
        return partial(SentryReporter, dsn=sentry.dsn, auto_enabling_integrations=False)

    @pytest.fixture
    def received(self, sentry: Sentry) -> Callable[[], str]:
        """Return what reads what the service got."""
        return sentry.text
