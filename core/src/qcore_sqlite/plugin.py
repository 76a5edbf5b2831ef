"""Lists what this plugin offers, by name."""

# ruff: noqa: PLC0415 - a factory imports its module only when it is called

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
    """Offer the key `sqlite`."""
    from qcore_sqlite import SqliteSettings

    return {"sqlite": SqliteSettings}


@hookimpl
def qcore_brokers() -> Mapping[str, Callable[[Settings], Broker]]:
    """Offer the broker `sqlite`."""
    return {"sqlite": _broker}


@hookimpl
def qcore_result_stores() -> Mapping[str, Callable[[Settings], ResultStore]]:
    """Offer the result store `sqlite`."""
    return {"sqlite": _results}


@hookimpl
def qcore_schedule_stores() -> Mapping[str, Callable[[Settings], ScheduleStore]]:
    """Offer the schedule store `sqlite`."""
    return {"sqlite": _schedules}


@hookimpl
def qcore_coordination_stores() -> Mapping[str, Callable[[Settings], CoordinationStore]]:
    """Offer the coordination store `sqlite`."""
    return {"sqlite": _coordination}


@hookimpl
def qcore_local_brokers() -> Mapping[str, Callable[[Settings], Path | None]]:
    """Return the file of the queue; this broker needs no server, so it is used when none is named."""
    return {"sqlite": _file}


@hookimpl
def qcore_urls() -> Mapping[str, Callable[[str], Mapping[str, Any]]]:
    """Offer the scheme `sqlite`: sqlite:queue.db, sqlite:///var/lib/queue.db."""
    return {"sqlite": _url}


def _broker(settings: Settings) -> Broker:
    from qcore_sqlite import make_broker

    return make_broker(settings)


def _results(settings: Settings) -> ResultStore:
    from qcore_sqlite import make_results

    return make_results(settings)


def _schedules(settings: Settings) -> ScheduleStore:
    from qcore_sqlite import make_schedules

    return make_schedules(settings)


def _coordination(settings: Settings) -> CoordinationStore:
    from qcore_sqlite import make_coordination

    return make_coordination(settings)


def _file(settings: Settings) -> Path:
    from qcore_sqlite.path import database_path

    return database_path(settings)


def _url(url: str) -> Mapping[str, Any]:
    from urllib.parse import unquote, urlsplit

    # The path of an absolute file follows an empty host.
    path = unquote(urlsplit(url).path)
    return {"sqlite": {"path": path} if path else {}}
