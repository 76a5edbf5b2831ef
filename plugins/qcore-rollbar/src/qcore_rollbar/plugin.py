"""Lists what this plugin offers, by name."""

# ruff: noqa: PLC0415 - a factory imports its module only when it is called

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from qcore.interfaces import ErrorReporter


@hookimpl
def qcore_error_reporters() -> Mapping[str, Callable[..., ErrorReporter]]:
    """Offer the error reporter `rollbar`."""
    return {"rollbar": _rollbar}


def _rollbar(**settings: Any) -> ErrorReporter:
    from qcore_rollbar.reporter import RollbarReporter

    return RollbarReporter(**settings)
