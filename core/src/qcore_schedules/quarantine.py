"""Disables a schedule whose function a worker cannot find."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from qcore.errors import BackendError, EnvelopeError
from qcore.interfaces import ErrorReport
from qcore.messages.workflow import read_workflow
from qcore.model import Action, TaskInfo
from qcore.settle import decide
from qcore_queues.names import DEFAULT_QUEUE
from qcore_schedules.sealed import stored_schedules
from qcore_schedules.swap import swap

if TYPE_CHECKING:
    from qcore.messages.envelope import Opened
    from qcore.model import Outcome
    from qcore.runtime import Runtime
    from qcore.tasks.plan import TaskPlan
    from qcore_calendar.schedule import Schedule
    from qcore_reports.reporters import Reporters
    from qcore_schedules.sealed import SealedSchedules

_log = logging.getLogger("qcore.worker")

#: Failures of one task after which its schedule is disabled, where attempts have no limit.
_ENOUGH: Final = 3
#: Longest error that is stored with a schedule, characters.
_FAULT: Final = 500


def quarantine_schedule(
    runtime: Runtime, opened: Opened, plan: TaskPlan, outcome: Outcome, failures: int
) -> Outcome:
    """Disable the schedule of a task whose function cannot be found; the task is not tried again.

    Only a worker can know, because the process that fires schedules does not import the user's
    modules. The schedule is disabled until it is resumed, changed or declared again; the others
    fire. Before that the task is tried like any other, because a worker of an earlier release may
    have leased it: until its attempts are used up, or `_ENOUGH` times where they have no limit.
    """
    head, rules = plan.head, plan.rules
    again = decide(outcome.kind, rules, failures=failures).action is Action.RETRY
    if head.schedule is None or (again and (rules.max_attempts or failures + 1 < _ENOUGH)):
        return outcome
    # The schedule may be stored with another cluster.
    home = read_workflow(opened.tail).home if opened.tail else ""
    there = runtime.of(home)
    try:
        with stored_schedules(there) as store:
            disabled = _disable(store, head.schedule, head.name, outcome.error[:_FAULT])
    except (BackendError, EnvelopeError) as exc:
        _log.warning("schedule %r could not be disabled: %s", head.schedule, exc)
        disabled = False
    if disabled:
        _log.error("schedule %r is disabled until it is resumed: %s", head.schedule, outcome.error)
        task = TaskInfo(
            id=opened.id.hex(),
            name=head.name,
            group=head.group,
            queue=head.queue or DEFAULT_QUEUE,
            priority=head.priority or 0,
        )
        report_schedule(runtime.reporters, task, head.schedule, outcome.error)
    return msgspec.structs.replace(outcome, retryable=False)


def report_schedule(
    reporters: Reporters, task: TaskInfo, name: str, text: str, error: BaseException | None = None
) -> None:
    """Report a schedule that is disabled, or cannot be fired."""
    told = f"schedule {name!r}: {text}"
    task = attrs.evolve(task, schedule=name)
    reporters.report(ErrorReport(task=task, kind="schedule", summary=text, text=told, error=error))


def _disable(store: SealedSchedules, name: str, task: str, fault: str) -> bool:
    """Return whether it was this call that disabled the schedule."""

    def disabled(before: Schedule | None) -> Schedule | None:
        # A schedule that was replaced meanwhile may call another function.
        if before is None or before.fault or before.task != task:
            return before
        return attrs.evolve(before, fault=fault)

    _, changed = swap(store, name, disabled)
    return changed
