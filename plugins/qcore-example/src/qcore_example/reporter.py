"""Decides how a failed run is written to a file."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING

from qcore.interfaces import ErrorReporter

if TYPE_CHECKING:
    from qcore.model import TaskInfo

_log = logging.getLogger("qcore_example.reporter")


class FileReporter(ErrorReporter):
    """Appends a line to the file at `path` for each failed run."""

    def __init__(self, path: str) -> None:
        self._path = path

    def report(self, task: TaskInfo, error: BaseException | None, text: str) -> None:
        """Append one line of JSON; the arguments are left out because they may be secret."""
        line = json.dumps(
            {
                "id": task.id,
                "name": task.name,
                "attempt": task.attempt,
                "error": None if error is None else type(error).__name__,
                "text": text,
            }
        )
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                # in one write, so that the lines of several workers are not mixed
                os.write(file, line.encode("ascii") + b"\n")
            finally:
                os.close(file)
        except OSError as exc:
            _log.warning("failure not reported task=%s path=%s: %s", task.id, self._path, exc.strerror)

    def flush(self, seconds: float) -> None:
        """Do nothing: each line is written at once."""
