"""Lists what this plugin offers, by name."""

# ruff: noqa: PLC0415 - a factory imports its module only when it is called

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.scheduling import Scheduler


@hookimpl
def qcore_schedulers() -> Mapping[str, Callable[[], Scheduler]]:
    """Offer the scheduler."""
    return {"schedules": _scheduler}


def _scheduler() -> Scheduler:
    from qcore_schedules.role import ClockScheduler

    return ClockScheduler()
