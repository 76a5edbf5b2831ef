"""Lists what this plugin offers, by name."""

# ruff: noqa: PLC0415 - a factory imports its module only when it is called

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from qcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from qcore.hookspecs import EnqueueEvent
    from qcore.interfaces import ErrorReporter


@hookimpl
def qcore_error_reporters() -> Mapping[str, Callable[..., ErrorReporter]]:
    """Offer the error reporter `otel`."""
    return {"otel": _otel}


@hookimpl
def qcore_pre_enqueue(event: EnqueueEvent) -> None:
    """Have the trace of the program go on in the worker."""
    # A program that does not use OpenTelemetry does not import it here.
    if "opentelemetry.trace" in sys.modules:
        _publish()(event)


@cache  # an import statement takes longer than what follows it
def _publish() -> Callable[[EnqueueEvent], None]:
    from qcore_otel.producer import publish

    return publish


def _otel(**settings: Any) -> ErrorReporter:
    from qcore_otel.reporter import OtelReporter

    return OtelReporter(**settings)
