"""Serializers and reporters that are each wrong in one way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from qcore.errors import EncodeError
from qcore_json import JsonSerializer
from qcore_reports.log_reporter import LogReporter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qcore.interfaces import ErrorReport


class SurrogateRaises(JsonSerializer):
    """Lets the error of its encoding out."""

    def dumps(self, value: Any) -> bytes:
        """Translate the errors of json alone."""
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as exc:
            raise EncodeError(str(exc)) from exc
        return text.encode()


class SurrogateIsReplaced(JsonSerializer):
    """Writes another text."""

    def dumps(self, value: Any) -> bytes:
        """Put a question mark where it cannot be written."""
        return super().dumps(value.encode(errors="replace").decode())


class DepthRaises(JsonSerializer):
    """Lets the error of its recursion out."""

    def dumps(self, value: Any) -> bytes:
        """Translate the errors of types alone."""
        try:
            return json.dumps(value).encode()
        except (TypeError, ValueError) as exc:
            raise EncodeError(str(exc)) from exc


class ForeignRaises(JsonSerializer):
    """Lets the error for a type that it does not know out."""

    def dumps(self, value: Any) -> bytes:
        """Translate nothing."""
        return json.dumps(value).encode()


class WritesWhatItCannotRead(JsonSerializer):
    """Writes an integer of any size, and reads those of 64 bits."""

    def dumps(self, value: Any) -> bytes:
        """Write it."""
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        """Read it, if it is small."""
        if len(data) > 20:
            raise OverflowError(data)
        return super().loads(data)


class ReportsNothing(LogReporter):
    """Does nothing, and so raises nothing and waits for nothing."""

    def report(self, report: ErrorReport) -> None:
        """Do nothing."""


class ReportsErrorsOnly(LogReporter):
    """Leaves out tasks whose worker died."""

    def report(self, report: ErrorReport) -> None:
        """Leave them out."""
        if report.error is not None:
            super().report(report)


class ChoosesByOneHeader(LogReporter):
    """Takes for granted that a message has a header."""

    def wants_run(self, headers: Mapping[str, str]) -> bool:
        """Look at it."""
        return headers["traceparent"].endswith("1")


class ReportsNoText(LogReporter):
    """Says that something failed, and not what."""

    def report(self, report: ErrorReport) -> None:
        """Drop the text."""
        super().report(attrs.evolve(report, text=""))
