"""Lists what this plugin offers, by name."""

# ruff: noqa: PLC0415 - a factory imports its module only when it is called

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.interfaces import Serializer


@hookimpl
def qcore_serializers() -> Mapping[str, Callable[[], Serializer]]:
    """Offer the serializer `pickle`."""
    return {"pickle": _pickle}


def _pickle() -> Serializer:
    from qcore_pickle.serializer import PickleSerializer

    return PickleSerializer()
