"""Exports the serializer `pickle`."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_pickle.serializer import PickleSerializer
else:
    __getattr__ = on_demand(__name__, PickleSerializer=".serializer")

__all__ = ["PickleSerializer"]
