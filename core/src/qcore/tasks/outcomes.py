"""How a run ends that raised, or could not begin."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qcore.errors import DecodeError, RunLater, SkipTask
from qcore.model import Kind, Outcome
from qcore_reports.tracebacks import format_error, format_traceback
from qcore_text.wording import counted
from qcore_values.foreign import Unresolved

if TYPE_CHECKING:
    from qcore.tasks.plan import TaskPlan


class InvalidArguments(Exception):
    """Arguments do not fit the annotations of a task."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__()
        self.cause = cause


def without_arguments(exc: BaseException, plan: TaskPlan) -> Outcome:
    """Return the outcome of a task whose arguments cannot be decoded, or do not fit its annotations."""
    if isinstance(exc, InvalidArguments):
        return failure(exc.cause, plan, time.time())
    if isinstance(exc, Unresolved):
        # The bytes are valid, and what they refer to may be there at the next attempt.
        return failure(exc.__cause__ or exc, plan, time.time())
    why = exc if isinstance(exc, DecodeError) else format_error(exc)
    return Outcome.unrun(Kind.REJECTED, f"the arguments cannot be decoded: {why}")


def interruption(kind: Kind, timeout: float) -> str:
    """Return the error of a task that was interrupted while it ran: cancelled, or after so many seconds."""
    if kind is Kind.CANCELLED:
        return "TaskCancelled: the task was cancelled while it ran"
    return f"TaskTimeout: the task ran longer than its timeout of {counted(timeout, 'second')}"


def raised(exc: BaseException, plan: TaskPlan, started: float) -> Outcome:
    """Return the outcome of a task that raised, or was skipped by a hook, without being interrupted."""
    if isinstance(exc, SkipTask):
        return Outcome(Kind.SKIPPED, error=f"SkipTask: {exc}", started=started, finished=time.time())
    return failure(exc, plan, started)


def failure(exc: BaseException, plan: TaskPlan, started: float) -> Outcome:
    """Return the outcome of a task that raised."""
    later = exc if isinstance(exc, RunLater) else None
    return Outcome(
        Kind.FAILURE if later is None or later.counted else Kind.POSTPONED,
        None,
        format_error(exc),
        format_traceback(exc),
        # SystemExit and the like are failures as well; only the task's own policy excludes them.
        retryable=later is not None or plan.is_retryable(exc),
        delay=None if later is None else later.delay,
        started=started,
        finished=time.time(),
    )
