"""Begins one of several asynchronous tasks, and decides how it ended."""

from __future__ import annotations

import os
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from qcore.compared import KIND_SUCCESS
from qcore.hookspecs import ExecuteEvent
from qcore.model import Kind, Outcome
from qcore.tasks.current import RUNNER
from qcore.tasks.execute import Executor, Raised, call_hooks, leave
from qcore.tasks.outcomes import interruption, raised, without_arguments
from qcore_loop.loop_thread import LoopRun
from qcore_process.forks import FORKS
from qcore_reports.tracebacks import format_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from qcore.messages.envelope import Opened
    from qcore.model import TaskInfo
    from qcore.tasks.current import Running
    from qcore.tasks.plan import TaskPlan

_NANO: Final = 1_000_000_000


class AwaitedRun:
    """One asynchronous task while it runs."""

    __slots__ = ("about", "context", "info", "loop_run", "plan", "post", "running", "started", "stopped")

    def __init__(
        self,
        plan: TaskPlan,
        running: Running,
        info: TaskInfo | None,
        post: Sequence[Callable[[ExecuteEvent], None]],
        context: Context,
    ) -> None:
        self.plan = plan
        self.about = running
        #: see `qcore.current`; None once it has ended
        self.running: Running | None = running
        #: what hooks see, None without hooks
        self.info = info
        #: called after it
        self.post = post
        #: not there once it has ended
        self.context = context
        #: epoch seconds
        self.started = time.time()
        #: why it was interrupted
        self.stopped: Kind | None = None
        self.loop_run: LoopRun


class Awaiter(Executor):
    """Makes coroutines of asynchronous tasks and outcomes of what became of them, in the main thread."""

    def begin(
        self,
        opened: Opened,
        plan: TaskPlan,
        attempt: int,
        deadline: int,
        *,
        upstream_args: Callable[[], Sequence[Any]] | None,
        queue: str,
        enter: Callable[[], None],
        ended: Callable[[], None],
    ) -> AwaitedRun | Outcome:
        """Return a run for the loop, or how a task ended that cannot be called.

        Args:
            opened: the message.
            plan: the plan for its head; its function is found.
            attempt: number of this run, from 1.
            deadline: monotonic nanoseconds, 0 = none.
            upstream_args: returns values that are passed before the arguments.
            queue: the name of its queue.
            enter: sets what the context of the task needs besides.
            ended: is called in the thread of the loop at the end.

        """
        call = plan.call
        if call is None:
            return Outcome.unrun(Kind.FAILURE, plan.fault)
        try:
            args, kwargs = self._arguments(opened, plan, upstream_args)
        except BaseException as exc:  # noqa: BLE001 - a serializer or an unpickled object may raise anything
            return without_arguments(exc, plan)
        pre, post = self._hooks_of(plan.head.headers) if self._hooks_of else (self._pre, self._post)
        info = plan.task_info(opened, attempt, args, kwargs) if pre or post else None
        context = copy_context()
        run = AwaitedRun(plan, (opened, plan, attempt, deadline), info, post, context)
        context.run(RUNNER.set, (run, queue))
        context.run(enter)
        try:
            if info is not None:
                call_hooks(pre, context, ExecuteEvent(task=info))
        except BaseException as exc:  # noqa: BLE001 - as if the task had raised it
            return self._failed(run, exc)
        run.loop_run = LoopRun(lambda: call(*args, **kwargs), lambda: self._ended(run, ended))
        return run

    def end(self, run: AwaitedRun) -> Outcome:
        """Return how a task ended."""
        loop_run, now = run.loop_run, time.time()
        # What an exception has of the stack leads to the run.
        error, loop_run.error = loop_run.error, None
        if error is None:
            outcome = Outcome(KIND_SUCCESS, loop_run.value, started=run.started, finished=now)
        else:
            outcome = self._failed(run, error)
        if run.info is not None and run.post:
            # The loop may be in the last step of the coroutine still, and nobody enters a context twice.
            call_hooks(run.post, run.context.copy(), ExecuteEvent(task=run.info, outcome=outcome))
        # The context has the run: neither would be freed before a look for garbage.
        del run.context
        return outcome

    def _ended(self, run: AwaitedRun, ended: Callable[[], None]) -> None:
        if FORKS.count != self._forks:
            # The task forked, and this is the child.
            leave(run.loop_run.error) if run.loop_run.error else os._exit(0)
        run.running = None
        ended()

    def _failed(self, run: AwaitedRun, exc: BaseException) -> Outcome:
        plan, started = run.plan, run.started
        self._restore()
        if self._keep_raised:
            message, _, attempt, _ = run.about
            self._kept = Raised(exc, run.info or plan.task_info(message, attempt), run.context)
        if run.stopped is not None:
            # However the task handled the interruption.
            text, trace = interruption(run.stopped, plan.timeout / _NANO), format_traceback(exc)
            return Outcome(run.stopped, None, text, trace, started=started, finished=time.time())
        return raised(exc, plan, started)
