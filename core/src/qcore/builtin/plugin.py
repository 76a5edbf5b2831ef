"""What the built-in plugin offers, by name."""

# ruff: noqa: PLC0415 - what a factory needs is imported when it is asked for, not before

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.interfaces import Broker, ErrorReporter, ResultStore, Scheduler, Serializer, Settings


@hookimpl
def qcore_settings() -> Mapping[str, Any]:
    """Offer the keys `sqlite` and `memory`."""
    from qcore.builtin.memory import MemorySettings
    from qcore.builtin.sqlite import SqliteSettings

    return {"sqlite": SqliteSettings, "memory": MemorySettings}


@hookimpl
def qcore_brokers() -> Mapping[str, Callable[[Settings], Broker]]:
    """Offer the brokers `sqlite` and `memory`."""
    return {"sqlite": _sqlite_broker, "memory": _memory_broker}


@hookimpl
def qcore_result_stores() -> Mapping[str, Callable[[Settings], ResultStore]]:
    """Offer the result stores `sqlite` and `memory`."""
    return {"sqlite": _sqlite_results, "memory": _memory_results}


@hookimpl
def qcore_schedulers() -> Mapping[str, Callable[[Settings], Scheduler]]:
    """Offer the schedule stores `sqlite` and `memory`."""
    return {"sqlite": _sqlite_schedules, "memory": _memory_schedules}


@hookimpl
def qcore_serializers() -> Mapping[str, Callable[[], Serializer]]:
    """Offer the serializers `msgpack`, `json` and `pickle`."""
    return {"msgpack": _msgpack, "json": _json, "pickle": _pickle}


@hookimpl
def qcore_urls() -> Mapping[str, Callable[[str], Mapping[str, Any]]]:
    """Offer the scheme `sqlite`: sqlite:queue.db, sqlite:///var/lib/queue.db."""
    return {"sqlite": _sqlite_url}


@hookimpl
def qcore_error_reporters() -> Mapping[str, Callable[..., ErrorReporter]]:
    """Offer the error reporter `log`."""
    return {"log": _log_reporter}


# -- factories: what they need is imported when it is asked for ----------------------------


def _sqlite_broker(settings: Settings) -> Broker:
    from qcore.builtin.sqlite import make_broker

    return make_broker(settings)


def _sqlite_results(settings: Settings) -> ResultStore:
    from qcore.builtin.sqlite import make_results

    return make_results(settings)


def _sqlite_schedules(settings: Settings) -> Scheduler:
    from qcore.builtin.sqlite import make_schedules

    return make_schedules(settings)


def _sqlite_url(url: str) -> Mapping[str, Any]:
    from urllib.parse import unquote, urlsplit

    # As an address of a file: an absolute path has an empty host before it.
    path = unquote(urlsplit(url).path)
    return {"sqlite": {"path": path} if path else {}}


def _memory_broker(settings: Settings) -> Broker:
    from qcore.builtin.memory import make_broker

    return make_broker(settings)


def _memory_results(settings: Settings) -> ResultStore:
    from qcore.builtin.memory import make_results

    return make_results(settings)


def _memory_schedules(settings: Settings) -> Scheduler:
    from qcore.builtin.memory import make_schedules

    return make_schedules(settings)


def _msgpack() -> Serializer:
    from qcore.builtin.serializers import MsgpackSerializer

    return MsgpackSerializer()


def _json() -> Serializer:
    from qcore.builtin.serializers import JsonSerializer

    return JsonSerializer()


def _pickle() -> Serializer:
    from qcore.builtin.serializers import PickleSerializer

    return PickleSerializer()


def _log_reporter(**settings: Any) -> ErrorReporter:
    from qcore.builtin.log_reporter import LogReporter

    return LogReporter(**settings)
