"""What this plugin offers, by name."""

# ruff: noqa: PLC0415 - what a factory needs is imported when it is asked for, not before

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ResultStore, ScheduleStore, Settings


@hookimpl
def qcore_settings() -> Mapping[str, Any]:
    """Offer the key `memory`."""
    from qcore_testing.memory import MemorySettings

    return {"memory": MemorySettings}


@hookimpl
def qcore_brokers() -> Mapping[str, Callable[[Settings], Broker]]:
    """Offer the broker `memory`."""
    return {"memory": _broker}


@hookimpl
def qcore_result_stores() -> Mapping[str, Callable[[Settings], ResultStore]]:
    """Offer the result store `memory`."""
    return {"memory": _results}


@hookimpl
def qcore_schedule_stores() -> Mapping[str, Callable[[Settings], ScheduleStore]]:
    """Offer the schedule store `memory`."""
    return {"memory": _schedules}


@hookimpl
def qcore_coordination_stores() -> Mapping[str, Callable[[Settings], CoordinationStore]]:
    """Offer the coordination store `memory`."""
    return {"memory": _coordination}


@hookimpl
def qcore_local_brokers() -> Mapping[str, Callable[[Settings], Path | None]]:
    """Say that the queue lives in one process: its key may live there too."""
    return {"memory": _file}


def _broker(settings: Settings) -> Broker:
    from qcore_testing.memory import make_broker

    return make_broker(settings)


def _results(settings: Settings) -> ResultStore:
    from qcore_testing.memory import make_results

    return make_results(settings)


def _schedules(settings: Settings) -> ScheduleStore:
    from qcore_testing.memory import make_schedules

    return make_schedules(settings)


def _coordination(settings: Settings) -> CoordinationStore:
    from qcore_testing.memory import make_coordination

    return make_coordination(settings)


def _file(settings: Settings) -> None:
    del settings
