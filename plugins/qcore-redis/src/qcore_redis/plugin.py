"""What this plugin offers, by name."""

# ruff: noqa: PLC0415 - what a factory needs is imported when it is asked for, not before

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.coordination import CoordinationStore
    from qcore.interfaces import Broker, ResultStore, ScheduleStore, Settings


@hookimpl
def qcore_settings() -> Mapping[str, Any]:
    """Offer the key `redis`: a table or a URL."""
    from qcore_redis.settings import RedisSettings

    return {"redis": RedisSettings | str}


@hookimpl
def qcore_brokers() -> Mapping[str, Callable[[Settings], Broker]]:
    """Offer a broker, selected by the key `redis`."""
    return {"redis": _broker}


@hookimpl
def qcore_result_stores() -> Mapping[str, Callable[[Settings], ResultStore]]:
    """Offer a result store in the same Redis."""
    return {"redis": _results}


@hookimpl
def qcore_schedule_stores() -> Mapping[str, Callable[[Settings], ScheduleStore]]:
    """Offer a schedule store in the same Redis."""
    return {"redis": _schedules}


@hookimpl
def qcore_coordination_stores() -> Mapping[str, Callable[[Settings], CoordinationStore]]:
    """Offer the coordination store `redis`."""
    return {"redis": _coordination}


@hookimpl
def qcore_urls() -> Mapping[str, Callable[[str], Mapping[str, Any]]]:
    """Offer the schemes that the key `redis` takes as a URL."""
    return dict.fromkeys(("redis", "rediss", "unix", "redis+sentinel", "redis+cluster"), _of_url)


@hookimpl
def qcore_checks() -> Mapping[str, Callable[[Settings], str]]:
    """Offer a look at what a queue needs of the server's own settings."""
    return {"redis": _check}


def _broker(settings: Settings) -> Broker:
    from qcore_redis.broker import RedisBroker

    return RedisBroker(settings)


def _results(settings: Settings) -> ResultStore:
    from qcore_redis.results import RedisResults

    return RedisResults(settings)


def _schedules(settings: Settings) -> ScheduleStore:
    from qcore_redis.schedules import RedisSchedules

    return RedisSchedules(settings)


def _coordination(settings: Settings) -> CoordinationStore:
    from qcore_redis.coordination import make_coordination

    return make_coordination(settings)


def _of_url(url: str) -> Mapping[str, Any]:
    return {"redis": url}


def _check(settings: Settings) -> str:
    from qcore_redis.checks import check

    return check(settings)
