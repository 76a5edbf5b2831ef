"""Decides what is enqueued for a result that is resubmitted."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db.transaction import atomic

from qcore.errors import DecodeError, EnvelopeError, QcoreError
from qcore.tasks.task import bind
from qcore_django.admin.stored import by_queue
from qcore_django.models import places
from qcore_django.shared import app
from qcore_django.tasks.options import options_of
from qcore_names.resolve import imported, resolve
from qcore_text.wording import counted
from qcore_values.foreign import as_written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.tasks.call import Call
    from qcore_django.models import Task


def resubmit(some: Sequence[Any], *, forget: bool = False) -> tuple[int, str]:
    """Enqueue the calls of results once more; return how many, and why the others were not.

    They keep function, arguments, group, name and queue. Options that a declared task has are those
    of today.

    Args:
        some: objects of the models of results.
        forget: delete the results, in the same transaction where there is one.

    """
    sent = unreadable = 0
    for queue, tasks in by_queue(some, "cluster").items():
        calls: list[Call] = []
        resubmitted = []
        for task in tasks:
            call = _call_of(task)
            if call is None:
                unreadable += 1
            else:
                calls.append(call)
                resubmitted.append(bytes.fromhex(task.id))
        alias = places.results_alias()
        together = (
            atomic(using=alias) if alias is not None and places.queue_alias() == alias else nullcontext()
        )
        with together:
            if calls:
                app.for_cluster(queue).enqueue_many(calls)
            if forget and resubmitted:
                with places.runtime_of(queue).stores.connection() as store:
                    store.delete(resubmitted)
        sent += len(calls)
    if not unreadable:
        return sent, ""
    which = f"{counted(unreadable, 'task')} of a batch" if sent else counted(unreadable, "task")
    return sent, f"{which} not resubmitted: the arguments are not stored, or cannot be read here."


def _call_of(task: Task) -> Call | None:
    """Return the call of a task, None if it is not known."""
    try:
        native = task.native
        if native.arguments is None:
            return None
        data, serializer, named = native.arguments
        with as_written():
            found: Any = places.runtime_of(task.cluster).results.value(serializer, data) or ()
        args, kwargs = found if named else (found, {})
        options = {"group": native.group, "task_name": native.label}
        given = {key: value for key, value in options.items() if value is not None}
        return bind(_target(task.func), tuple(args), dict(kwargs), options_of(given))
    except (EnvelopeError, DecodeError):
        return None


def _target(name: str) -> Any:  # noqa: ANN401 - a function, a declared task or a name
    """Return the declared task of a name, whose options count; a name that cannot be imported stays one."""
    found = imported(name)
    if found is not None:
        return found if hasattr(found, "using") else name
    try:
        found = resolve(name, app.config.tasks_allowed)
    except QcoreError:
        return name
    return found if hasattr(found, "using") else name
