"""Exports the error reporter `rollbar`."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_rollbar.reporter import RollbarReporter
else:
    __getattr__ = on_demand(__name__, RollbarReporter=".reporter")

__all__ = ["RollbarReporter"]
