"""PickleSerializer fulfils the contract of its interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore_pickle import PickleSerializer
from qcore_testing import SerializerContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Serializer


class TestPickle(SerializerContract):
    """PickleSerializer fulfils the contract of Serializer."""

    @pytest.fixture
    def make(self) -> Callable[[], Serializer]:
        """Return the class."""
        return PickleSerializer
