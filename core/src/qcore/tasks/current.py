"""Tells a task about itself."""

from __future__ import annotations

import time
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from qcore_queues.names import DEFAULT_QUEUE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qcore.messages.envelope import Opened
    from qcore.tasks.plan import TaskPlan

_NANO: Final = 1_000_000_000

#: message, plan, number of the run, and deadline in monotonic nanoseconds (0 = none) of a running task
Running = tuple["Opened", "TaskPlan", int, int]


class RunsTasks(Protocol):
    """What runs one task after the other."""

    #: the task that runs now
    running: Running | None


#: what runs tasks in this context, and the name of its cluster; set once, because a task costs a few
#: microseconds: what a task leaves running sees the next task
RUNNER: Final[ContextVar[tuple[RunsTasks, str] | None]] = ContextVar("qcore.runner", default=None)


@attrs.frozen(kw_only=True)
class CurrentTask:
    """The task that calls `qcore.current`."""

    #: 32 hexadecimal digits, as `Job.id`
    id: str
    #: dotted name of the function
    name: str
    #: number of this run, from 1
    attempt: int
    #: name of its cluster
    cluster: str
    #: the queue it was put on
    queue: str
    #: -100 to 100
    priority: int
    #: epoch seconds
    enqueued: float
    #: epoch seconds at which it is interrupted; None = no limit
    deadline: float | None = None
    #: name of its result group
    group: str | None = None
    #: name of the schedule that enqueued it
    schedule: str | None = None
    #: what hooks of its producer attached, text to text
    headers: Mapping[str, str] = MappingProxyType({})


def current() -> CurrentTask | None:
    """Return the running task; None outside of a task.

    A thread that the task starts belongs to the task if it runs in a copy of the task's context, as
    with `asyncio.to_thread`, and has ended when the task ends.
    """
    runner = RUNNER.get()
    if runner is None or (running := runner[0].running) is None:
        return None
    message, plan, attempt, deadline = running
    head = plan.head
    left = (deadline - time.monotonic_ns()) / _NANO
    return CurrentTask(
        id=message.id.hex(),
        name=head.name,
        attempt=attempt,
        cluster=runner[1],
        queue=head.queue or DEFAULT_QUEUE,
        priority=head.priority or 0,
        enqueued=message.created / 1000,
        deadline=time.time() + left if deadline else None,
        group=head.group,
        schedule=head.schedule,
        headers=MappingProxyType(head.headers or {}),
    )
