"""RollbarReporter fulfils the contract of an error reporter."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from qcore_rollbar import RollbarReporter
from qcore_testing import ErrorReporterContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Rollbar


class TestRollbarReporter(ErrorReporterContract):
    """RollbarReporter keeps to ErrorReporter."""

    @pytest.fixture
    def make(self, service: Rollbar) -> Callable[[], RollbarReporter]:
        """Return what makes a reporter."""
        return partial(RollbarReporter, access_token="0123456789abcdef", endpoint=service.endpoint)

    @pytest.fixture
    def received(self, service: Rollbar) -> Callable[[], str]:
        """Return what reads what the service got."""
        return lambda: json.dumps(service.items())
