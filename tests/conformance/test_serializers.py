"""The three serializers keep to their interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qcore.builtin.serializers import JsonSerializer, MsgpackSerializer, PickleSerializer
from qcore.testing import SerializerContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.interfaces import Serializer


class TestMsgpack(SerializerContract):
    """MsgpackSerializer keeps to Serializer."""

    @pytest.fixture
    def make(self) -> Callable[[], Serializer]:
        """Return the class."""
        return MsgpackSerializer


class TestJson(SerializerContract):
    """JsonSerializer keeps to Serializer."""

    @pytest.fixture
    def make(self) -> Callable[[], Serializer]:
        """Return the class."""
        return JsonSerializer


class TestPickle(SerializerContract):
    """PickleSerializer keeps to Serializer."""

    @pytest.fixture
    def make(self) -> Callable[[], Serializer]:
        """Return the class."""
        return PickleSerializer
