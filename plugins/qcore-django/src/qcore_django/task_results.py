"""Makes Django's `TaskResult` of what is known of a task."""

# ruff: noqa: ANN401 - Django's tasks have two homes, so their types are known to none

from __future__ import annotations

from copy import copy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qcore.model import State
from qcore_django.task_flags import failed_runs
from qcore_django.task_library import base

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore import App, Result
    from qcore_django.task_flags import FailedRun, TaskFlag


def found_result(there: App, task: Any, id: str, flag: TaskFlag, stored: Result | None) -> Any:
    """Return how far a task has come, by what is stored and what its cluster publishes."""
    states = base.TaskResultStatus
    failed = failed_runs(there, id)
    errors = [task_error(one.path, one.text) for one in failed]
    if stored is not None and stored.state.final:
        success = stored.state is State.SUCCESS
        if not success and not errors:
            # Its worker died, or it was cancelled: nothing was raised.
            errors = [task_error("qcore.errors.TaskFailed", stored.traceback or stored.error)]
        status = states.SUCCESSFUL if success else states.FAILED
        result = task_result(task, id, flag, stored=stored, errors=errors, status=status)
        object.__setattr__(result, "_return_value", stored.value)
        return _since_first(result, failed)
    known = there.status(id)
    state = states.RUNNING if known.state in {"running", "begun"} else states.READY
    result = task_result(task, id, flag, stored=stored, status=state, errors=errors)
    if state is states.RUNNING:
        object.__setattr__(result, "started_at", _moment(known.since))
        object.__setattr__(result, "last_attempted_at", _moment(known.since))
        result.worker_ids.append(known.worker)
    return _since_first(result, failed)


def _since_first(result: Any, failed: Sequence[FailedRun]) -> Any:
    """Have a task begin with its first run, which has failed if there were several."""
    if failed and failed[0].started:
        object.__setattr__(result, "started_at", _moment(failed[0].started))
    return result


def task_result(
    task: Any,
    id: str,
    flag: TaskFlag,
    *,
    status: Any = None,
    stored: Result | None = None,
    errors: Sequence[Any] = (),
) -> Any:
    """Return a `TaskResult` of a status, READY if none is given."""
    runs = 0 if stored is None else stored.attempts + stored.crashes
    ended = None if stored is None or not stored.state.final else _moment(stored.finished)
    begun = None if stored is None or not runs else _moment(stored.started)
    return base.TaskResult(
        task=task,
        id=id,
        status=base.TaskResultStatus.READY if status is None else status,
        enqueued_at=_moment(flag.enqueued),
        started_at=begun,
        finished_at=ended,
        last_attempted_at=begun,
        args=list(flag.args),
        kwargs=dict(flag.kwargs),
        backend=task.backend,
        errors=list(errors),
        worker_ids=[] if stored is None else [stored.worker] * runs,
    )


def as_enqueued(task: Any, **changes: Any) -> Any:
    """Return a task as it was enqueued, though `QUEUES` may be others by now, or another backend's."""
    made = copy(task)
    for name, value in changes.items():
        object.__setattr__(made, name, value)
    return made


def task_error(path: str, text: str) -> Any:
    """Return what a run has raised: dotted name and traceback."""
    return base.TaskError(exception_class_path=path, traceback=text)


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
