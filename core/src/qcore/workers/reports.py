"""What a worker reports of its messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from qcore.interfaces import ErrorReport
from qcore.model import Kind, State, TaskInfo

if TYPE_CHECKING:
    from qcore.model import Outcome
    from qcore.settle import Decision
    from qcore.tasks.execute import Raised
    from qcore.workers.leased import LeasedMessage
    from qcore_logs.tasks import TaskLog
    from qcore_reports.log_limit import LogLimit
    from qcore_reports.reporters import Reporters

#: Intended ends.
_NOT_REPORTED: Final = frozenset({Kind.SKIPPED, Kind.CANCELLED})
#: Seconds between two reports of rejected messages: anybody may put in as many as the backend takes.
_REJECTED: Final = 60.0


class RunReports:
    """Logs and reports failed runs with what becomes of their messages, and messages that are rejected."""

    def __init__(self, reporters: Reporters, log: TaskLog, lines: LogLimit) -> None:
        self._reporters = reporters
        self._log = log
        #: logs messages that are not run
        self.lines = lines
        self._rejected_at = -_REJECTED

    def failed(
        self, message: LeasedMessage, outcome: Outcome, decision: Decision, raised: Raised | None = None
    ) -> None:
        """Log and report how a message failed; it was not run if nothing was raised."""
        id_, name, attempt = message.opened.id.hex(), message.plan.name, message.failures + 1
        self._log.failed(id_, name, attempt, outcome, decision.settlement(message.receipt))
        if not self._reporters or outcome.kind in _NOT_REPORTED:
            return
        if outcome.delay is not None and decision.state is not State.FAILED:
            # The task asked to run later; that it may not is reported.
            return
        plan = message.plan
        report = ErrorReport(
            task=raised.task if raised else plan.task_info(message.opened, message.failures + 1),
            kind=outcome.kind.value,
            summary=outcome.error,
            text=outcome.traceback or outcome.error,
            error=raised.error if raised else None,
            action=decision.action.name.lower(),
        )
        self._reporters.report(report, raised.context if raised else None)

    def rejected(self, reason: str) -> None:
        """Report a message that is dead-lettered or removed unread, at most one a minute."""
        now = time.monotonic()
        if self._reporters and now - self._rejected_at >= _REJECTED:
            self._rejected_at = now
            task = TaskInfo(id="", name="")
            text = f"a message is rejected unread: {reason}"
            self._reporters.report(ErrorReport(task=task, kind="rejected", summary=reason, text=text))
