"""A schedule whose function is not there, marked by a worker."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from qcore.errors import BackendError
from qcore.messages.workflow import read_workflow
from qcore.model import Action, TaskInfo
from qcore.settle import decide

if TYPE_CHECKING:
    from qcore.interfaces import ScheduleStore
    from qcore.messages.envelope import Opened
    from qcore.model import Outcome
    from qcore.runtime import Runtime
    from qcore.tasks.plan import TaskPlan

_log = logging.getLogger("qcore.worker")

#: Changes of others that marking a schedule gives way to.
_TRIES: Final = 20
#: Failures of one task that tell of its schedule, where attempts have no limit.
_ENOUGH: Final = 3
#: Longest fault that is kept, characters.
_FAULT: Final = 500


def quarantine_schedule(
    runtime: Runtime, opened: Opened, plan: TaskPlan, outcome: Outcome, failures: int
) -> Outcome:
    """Mark the schedule of a task whose function cannot be found; the task is not tried again.

    Only a worker can know: what fires schedules does not import the user's modules. It rests
    until it is resumed, changed or declared anew; the others fire. The task is tried like any
    other before, for a worker of an earlier release may have taken it: until its attempts are
    used up, or `_ENOUGH` times where they have no limit.
    """
    head, rules = plan.head, plan.rules
    again = decide(outcome.kind, rules, failures=failures).action is Action.RETRY
    if head.schedule is None or (again and (rules.max_attempts or failures + 1 < _ENOUGH)):
        return outcome
    # A schedule of another queue is kept there.
    home = read_workflow(opened.tail).home if opened.tail else ""
    there = runtime.of(home)
    try:
        with there.schedule_stores.connection() as store:
            marked = _mark(store, head.schedule, head.name, outcome.error[:_FAULT])
    except BackendError as exc:
        _log.warning("schedule %r could not be marked as broken: %s", head.schedule, exc)
        marked = False
    if marked:
        _log.error("schedule %r is broken and rests until it is resumed: %s", head.schedule, outcome.error)
        reporters = runtime.reporters()
        task = TaskInfo(id=opened.id.hex(), name=head.name, group=head.group)
        reporters.report(task, None, f"schedule {head.schedule!r}: {outcome.error}")
        reporters.flush()
    return msgspec.structs.replace(outcome, retryable=False)


def _mark(store: ScheduleStore, name: str, task: str, fault: str) -> bool:
    """Return whether it was us who marked it."""
    for _ in range(_TRIES):
        before = store.get(name)
        # One that was made anew meanwhile calls something else.
        if before is None or before.fault or before.task != task:
            return False
        if store.advance(before, attrs.evolve(before, fault=fault)):
            return True
    return False
