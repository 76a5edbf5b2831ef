"""Lists what this plugin offers, by name."""

# ruff: noqa: PLC0415 - a factory imports its module only when it is called

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.interfaces import Broker, ErrorReporter, Settings


@hookimpl
def qcore_settings() -> Mapping[str, Any]:
    """Offer the key `spool`."""
    from qcore_example.settings import SpoolSettings

    return {"spool": SpoolSettings}


@hookimpl
def qcore_brokers() -> Mapping[str, Callable[[Settings], Broker]]:
    """Offer a broker, selected by the key `spool`."""
    return {"spool": _broker}


@hookimpl
def qcore_error_reporters() -> Mapping[str, Callable[..., ErrorReporter]]:
    """Offer the error reporter `example`."""
    return {"example": _reporter}


def _broker(settings: Settings) -> Broker:
    from qcore_example.broker import SpoolBroker

    return SpoolBroker(settings)


def _reporter(**settings: Any) -> ErrorReporter:
    from qcore_example.reporter import FileReporter

    return FileReporter(**settings)
