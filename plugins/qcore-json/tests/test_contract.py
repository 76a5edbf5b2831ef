"""JsonSerializer fulfils the contract of its interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore_json import JsonSerializer
from qcore_testing import SerializerContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Serializer


class TestJson(SerializerContract):
    """JsonSerializer fulfils the contract of Serializer."""

    @pytest.fixture
    def make(self) -> Callable[[], Serializer]:
        """Return the class."""
        return JsonSerializer
