"""Signals of Django for tasks, as Django-Q sends them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import attrs
from django.dispatch import Signal

from qcore.model import Kind
from qcore_django.words import words_of
from qcore_names.resolve import imported

if TYPE_CHECKING:
    from qcore.hookspecs import EnqueueEvent, ExecuteEvent, SettledEvent, WorkerEvent
    from qcore.model import TaskInfo

#: who sends them
SENDER: Final = "django_q"
#: Most ends of runs that wait to be told: a worker settles a batch at a time.
_WAITING: Final = 10_000

#: a task is about to be enqueued; `task` is a dict, of which `args`, `kwargs` and `group` may be changed
pre_enqueue = Signal()
#: a task is about to run, in its worker; `func` and `task`
pre_execute = Signal()
#: a task has run, in its worker, before its result is stored; `func` and `task`
post_execute_in_worker = Signal()
#: the result of a task is stored and its message settled; `task`
post_execute = Signal()
#: a worker has started; `proc_name`
post_spawn = Signal()


class Sending:
    """What this process has to say of its tasks; a receiver that raises is logged by Django."""

    def __init__(self) -> None:
        self._in_worker = False
        #: by id, what has run and is not settled yet
        self._ran: dict[str, dict[str, Any]] = {}

    def enqueuing(self, event: EnqueueEvent) -> None:
        """Send `pre_enqueue`, and take what its receivers have changed."""
        if not pre_enqueue.has_listeners(SENDER):
            return
        before = event.task
        task = _described(before) | {"started": datetime.now(UTC)}
        pre_enqueue.send_robust(SENDER, task=task)
        after = (tuple(task["args"]), dict(task["kwargs"]), task["group"])
        if after != (before.args, before.kwargs, before.group):
            args, kwargs, group = after
            event.task = attrs.evolve(before, args=args, kwargs=kwargs, group=group)

    def executing(self, event: ExecuteEvent) -> None:
        """Send `pre_execute`."""
        if pre_execute.has_listeners(SENDER):
            func = imported(event.task.name)
            pre_execute.send_robust(SENDER, func=func, task=_described(event.task))

    def executed(self, event: ExecuteEvent) -> None:
        """Send `post_execute_in_worker`; where no worker settles messages, the task has ended."""
        signals = (post_execute_in_worker, post_execute)
        if event.outcome is None or not any(one.has_listeners(SENDER) for one in signals):
            return
        outcome = event.outcome
        error = f"{outcome.error} : {outcome.traceback}" if outcome.traceback else outcome.error
        success = outcome.kind is Kind.SUCCESS
        task = _described(event.task) | {
            "result": outcome.value if success else error,
            "success": success,
            "stopped": datetime.fromtimestamp(outcome.finished, UTC),
        }
        post_execute_in_worker.send_robust(SENDER, func=imported(event.task.name), task=task)
        if not self._in_worker:
            post_execute.send_robust(SENDER, task=task)
        elif post_execute.has_listeners(SENDER):
            if len(self._ran) >= _WAITING:
                self._ran.clear()
            self._ran[event.task.id] = task

    def settled(self, event: SettledEvent) -> None:
        """Send `post_execute`, for a task that a dead worker ran too."""
        if event.action == "release" or not post_execute.has_listeners(SENDER):
            return
        task = self._ran.pop(event.task_id, None) or {
            "id": event.task_id,
            "name": words_of(event.task_id),
            "func": event.name,
            "result": event.reason or event.kind,
            "success": event.kind == Kind.SUCCESS.value,
            "stopped": datetime.fromtimestamp(time.time(), UTC),
        }
        post_execute.send_robust(SENDER, task=task)

    def spawned(self, event: WorkerEvent) -> None:
        """Send `post_spawn`."""
        self._in_worker = True
        post_spawn.send_robust(SENDER, proc_name=f"{event.cluster}-worker-{event.slot}")


def _described(task: TaskInfo) -> dict[str, Any]:
    return {
        "id": task.id,
        "name": task.label or words_of(task.id),
        "func": task.name,
        "args": task.args,
        "kwargs": dict(task.kwargs),
        "group": task.group,
        "timeout": task.timeout,
        "started": datetime.fromtimestamp(task.enqueued, UTC),
    }


#: that of this process
SENDING: Final = Sending()
