"""Exports the error reporter `otel`."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_otel.reporter import OtelReporter
else:
    __getattr__ = on_demand(__name__, OtelReporter=".reporter")

__all__ = ["OtelReporter"]
