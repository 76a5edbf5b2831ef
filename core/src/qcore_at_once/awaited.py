"""Begins one of several asynchronous tasks, and decides how it ended."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from qcore.compared import KIND_SUCCESS
from qcore.hookspecs import ExecuteEvent
from qcore.journal.progress import PAGE
from qcore.model import Kind, Outcome
from qcore.tasks.current import RUNNER
from qcore.tasks.execute import Executor, Raised, call_hooks, leave
from qcore.tasks.outcomes import interruption, raised, without_arguments
from qcore_loop.loop_thread import LoopRun
from qcore_process.forks import FORKS
from qcore_reports.tracebacks import format_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from contextvars import Context

    from qcore.journal.progress import ReportsProgress
    from qcore.model import TaskInfo
    from qcore.tasks.current import Running

_NANO: Final = 1_000_000_000

_Of = TypeVar("_Of", bound="ReportsProgress")


class AwaitedRun(LoopRun, Generic[_Of]):
    """One asynchronous task while it runs."""

    __slots__ = (
        "_args", "_forks", "_kwargs", "about", "info", "of", "plan", "post", "running", "started", "stopped",
        "tell",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917 - one is made for each task
        self,
        running: Running,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: Context,
        of: _Of,
        tell: Callable[[_Of], None],
    ) -> None:
        super().__init__(context)
        self.about = running
        self.plan = running[1]
        #: see `qcore.current`; None once it has ended
        self.running: Running | None = running
        self._args = args
        self._kwargs = kwargs
        #: what hooks see, None without hooks
        self.info: TaskInfo | None = None
        #: called after it
        self.post: Sequence[Callable[[ExecuteEvent], None]] = ()
        #: epoch seconds
        self.started = time.time()
        #: why it was interrupted
        self.stopped: Kind | None = None
        #: what it is the run of, which `tell` gets at the end, in the thread of the loop
        self.of = of
        self.tell = tell
        self._forks = FORKS.count

    def make(self) -> Coroutine[Any, Any, Any]:
        """Return the coroutine of the task."""
        found: Coroutine[Any, Any, Any] = self.plan.call(*self._args, **self._kwargs)  # type: ignore[misc]  # it was found
        return found

    def ended(self) -> None:
        """Report the end."""
        if FORKS.count != self._forks:
            # The task forked, and this is the child.
            leave(self.error) if self.error else os._exit(0)
        self.running = None
        self.tell(self.of)


class Awaiter(Executor):
    """Makes coroutines of asynchronous tasks and outcomes of what became of them, in the main thread."""

    def begin(
        self,
        running: Running,
        *,
        upstream_args: Callable[[], Sequence[Any]] | None,
        queue: str,
        context: Context,
        of: _Of,
        tell: Callable[[_Of], None],
    ) -> AwaitedRun[_Of] | Outcome:
        """Return a run for the loop, or how a task ended that cannot be called.

        Args:
            running: the task; its function is found.
            upstream_args: returns values that are passed before the arguments.
            queue: the name of its cluster.
            context: a context of its own.
            of: what it is the run of.
            tell: gets that in the thread of the loop at the end.

        """
        opened, plan, attempt, _ = running
        if plan.call is None:
            return Outcome.unrun(Kind.FAILURE, plan.fault)
        try:
            args, kwargs = self._arguments(opened, plan, upstream_args)
        except BaseException as exc:  # noqa: BLE001 - a serializer or an unpickled object may raise anything
            return without_arguments(exc, plan)
        run = AwaitedRun(running, args, kwargs, context, of, tell)
        context.run(_enter, (run, queue), of)
        pre, post = self._hooks_of(plan.head.headers) if self._hooks_of else (self._pre, self._post)
        if pre or post:
            run.post, run.info = post, plan.task_info(opened, attempt, args, kwargs)
            try:
                call_hooks(pre, context, ExecuteEvent(task=run.info))
            except BaseException as exc:  # noqa: BLE001 - as if the task had raised it
                outcome = self._failed(run, exc)
                del run.context
                return outcome
        return run

    def end(self, run: AwaitedRun[Any]) -> Outcome:
        """Return how a task ended."""
        # What an exception has of the stack leads to the run.
        error, run.error = run.error, None
        if error is None:
            outcome = Outcome(KIND_SUCCESS, run.value, started=run.started, finished=time.time())
        else:
            outcome = self._failed(run, error)
        if run.post and run.info is not None:
            # The loop may be in the last step of the coroutine still, and nobody enters a context twice.
            call_hooks(run.post, run.context.copy(), ExecuteEvent(task=run.info, outcome=outcome))
        # The context has the run: neither would be freed before a look for garbage.
        del run.context
        return outcome

    def _failed(self, run: AwaitedRun[Any], exc: BaseException) -> Outcome:
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


def _enter(runner: tuple[AwaitedRun[Any], str], page: ReportsProgress) -> None:
    """Make the context of this call that of a task."""
    RUNNER.set(runner)
    PAGE.set(page)
