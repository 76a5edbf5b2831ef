"""Exports the error reporter `sentry`."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_sentry.reporter import SentryReporter
else:
    __getattr__ = on_demand(__name__, SentryReporter=".reporter")

__all__ = ["SentryReporter"]
