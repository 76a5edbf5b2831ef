"""Decides how a failed run is written to a file."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from qcore.interfaces import ErrorReporter

if TYPE_CHECKING:
    from qcore.interfaces import ErrorReport


class FileReporter(ErrorReporter):
    """Appends a line to the file at `path` for each failed run."""

    def __init__(self, path: str) -> None:
        self._path = path

    def report(self, report: ErrorReport) -> None:
        """Append one line of JSON; what it raises is logged by qcore."""
        task = report.task
        line = json.dumps(
            {
                "id": task.id,
                "name": task.name,
                "attempt": task.attempt,
                "error": report.error_type,
                "text": report.text,
            }
        )
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # in one write, so that the lines of several workers are not mixed
            os.write(file, line.encode("ascii") + b"\n")
        finally:
            os.close(file)

    def flush(self, seconds: float) -> None:
        """Do nothing: each line is written at once."""
