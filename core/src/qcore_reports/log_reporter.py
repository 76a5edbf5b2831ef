"""Decides how a failed run is logged: in one line."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from qcore.interfaces import ErrorReporter
from qcore_logs.records import write

if TYPE_CHECKING:
    from qcore.interfaces import ErrorReport


#: characters that could forge a line or move a terminal's cursor: control and bidirectional characters,
#: line separators, and lone surrogates, which no stream can write
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: most characters of a traceback, which may be very long after a deep recursion
_MAX_TEXT = 16_384


class LogReporter(ErrorReporter):
    """Writes one line for each failed run to a logger of the standard library.

    Its level is ERROR, and WARNING if the task will run again.
    """

    def __init__(self, logger: str = "qcore.reports") -> None:
        self._log = logging.getLogger(logger)

    def report(self, report: ErrorReport) -> None:
        """Log the id, the name, the type of the error and the traceback in one line."""
        task = report.task
        what = "task failed" if report.action else f"trouble kind={report.kind}"
        level = logging.WARNING if report.runs_again else logging.ERROR
        about = {
            "task_id": task.id,
            "task_name": task.name,
            "attempt": task.attempt,
            "cluster": report.cluster,
        }
        write(
            self._log,
            level,
            "%s id=%s name=%s attempt=%d error=%s: %s",
            about,
            args=(
                what,
                printable(task.id),
                printable(task.name),
                task.attempt,
                printable(report.error_type),
                printable(report.text[-_MAX_TEXT:]),
            ),
        )

    def flush(self, seconds: float) -> None:
        """Flush the handlers of the logger; they take no time limit, so `seconds` is ignored."""
        del seconds
        for handler in self._log.handlers:
            handler.flush()


def printable(text: str) -> str:
    r"""Return the text with control characters escaped, a line feed as `\n`."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
