"""Exports the serializer `json`."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_json.serializer import JsonSerializer
else:
    __getattr__ = on_demand(__name__, JsonSerializer=".serializer")

__all__ = ["JsonSerializer"]
