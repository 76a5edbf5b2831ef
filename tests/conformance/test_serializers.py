"""The serializer of core keeps to its interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore_testing import SerializerContract
from qcore_values.msgpack_serializer import MsgpackSerializer

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Serializer


class TestMsgpack(SerializerContract):
    """MsgpackSerializer keeps to Serializer."""

    @pytest.fixture
    def make(self) -> Callable[[], Serializer]:
        """Return the class."""
        return MsgpackSerializer
