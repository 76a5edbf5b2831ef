"""Lists what the built-in plugin offers, by name."""

# ruff: noqa: PLC0415 - a factory imports its module only when it is called

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qcore.interfaces import ErrorReporter, Serializer


@hookimpl
def qcore_serializers() -> Mapping[str, Callable[[], Serializer]]:
    """Offer the serializer `msgpack`."""
    return {"msgpack": _msgpack}


@hookimpl
def qcore_error_reporters() -> Mapping[str, Callable[..., ErrorReporter]]:
    """Offer the error reporter `log`."""
    return {"log": _log_reporter}


def _msgpack() -> Serializer:
    from qcore_values.msgpack_serializer import MsgpackSerializer

    return MsgpackSerializer()


def _log_reporter(**settings: Any) -> ErrorReporter:
    from qcore_reports.log_reporter import LogReporter

    return LogReporter(**settings)
