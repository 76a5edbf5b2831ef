"""Exports the App of a Django site, and its decorator for tasks."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_django.shared import app, task
else:
    # The plugin is loaded in each process of qcore's, and Django is not imported for that.
    __getattr__ = on_demand(__name__, app=".shared", task=".shared")

__all__ = ["app", "task"]
