"""Decides what becomes of an error reporter that fails."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from qcore.errors import INTERRUPTS

if TYPE_CHECKING:
    from qcore.interfaces import ErrorReporter
    from qcore.model import TaskInfo

_log = logging.getLogger("qcore.reporting")

#: Seconds error reporters get to send what waits when a process ends.
FLUSH_SECONDS: Final = 2.0


class Reporters:
    """The configured error reporters, none of which can hurt a task."""

    def __init__(self, reporters: list[tuple[str, ErrorReporter]]) -> None:
        self._reporters = reporters

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._reporters)

    def report(self, task: TaskInfo, error: BaseException | None, text: str) -> None:
        """Tell all of them."""
        for name, reporter in self._reporters:
            try:
                reporter.report(task, error, text)
            except INTERRUPTS:
                raise
            except BaseException:  # noqa: BLE001 - logged; a reporter must not hurt a task
                _log.exception("error reporter %s failed on task %s", name, task.id)

    def flush(self) -> None:
        """Let all of them send what waits."""
        for name, reporter in self._reporters:
            try:
                reporter.flush(FLUSH_SECONDS)
            except INTERRUPTS:
                raise
            except BaseException:  # noqa: BLE001 - logged; the others are still flushed
                _log.exception("error reporter %s failed to flush", name)
