"""Decides how one task is run and how it ended."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qcore.compared import KIND_SUCCESS
from qcore.errors import DecodeError, TaskCancelled, TaskTimeout
from qcore.hookspecs import ExecuteEvent
from qcore.model import Kind, Outcome
from qcore.tasks.outcomes import InvalidArguments, interruption, raised, without_arguments
from qcore_process.forks import FORKS
from qcore_reports.tracebacks import format_traceback

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from contextvars import Context
    from types import ModuleType

    from qcore.interfaces import Serializer
    from qcore.messages.envelope import Opened
    from qcore.model import TaskInfo
    from qcore.tasks.current import Running
    from qcore.tasks.plan import TaskPlan
    from qcore.tasks.run_hooks import RunHooks

_NANO: Final = 1_000_000_000
#: The deadline of a task without a timeout, monotonic nanoseconds: in three hundred years.
_NEVER: Final = 1 << 63


class Raised(NamedTuple):
    """What a run raised, for error reporters."""

    error: BaseException
    task: TaskInfo
    #: the task's own
    context: Context


class Executor:
    """Runs tasks one after the other in this process."""

    def __init__(
        self,
        serializers: Mapping[int, Serializer],
        hooks: RunHooks | None = None,
        *,
        keep_raised: bool = False,
        let_out: tuple[type[BaseException], ...] = (),
        cancelled: Callable[[], bool] = lambda: False,
        restore: Callable[[], None] = lambda: None,
        end_children: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._loads = {code: serializer.loads for code, serializer in serializers.items()}
        self._pre: Sequence[Callable[[ExecuteEvent], None]] = () if hooks is None else hooks.pre
        self._post: Sequence[Callable[[ExecuteEvent], None]] = () if hooks is None else hooks.post
        #: returns the hooks of one run; None = they are the same for each
        self._hooks_of = hooks.of_run if hooks is not None and hooks.chooses else None
        #: whether what a run raises is kept until it is taken
        self._keep_raised = keep_raised
        self._kept: Raised | None = None
        #: exceptions that do not belong to the task: Ctrl-C if tasks run in the user's process
        self._let_out = let_out
        #: whether the running task is cancelled
        self._is_cancelled = cancelled
        #: restores the standard streams, before hooks or the log write to them
        self._restore = restore
        #: ends the processes that a task has started since a time, epoch seconds
        self._end_children = end_children
        self.after_fork()
        self._loop: asyncio.Runner | None = None
        self._current: asyncio.Task[Any] | None = None
        #: the deadline of the running task, monotonic nanoseconds; 0 = none runs
        self._armed = 0
        #: see `qcore.current`
        self.running: Running | None = None
        #: why the running task was interrupted
        self._stopped: Kind | None = None

    def after_fork(self) -> None:
        """Run tasks in this process; one that comes back in a child that a task has forked ends there."""
        self._forks = FORKS.count

    def run(
        self,
        opened: Opened,
        plan: TaskPlan,
        attempt: int,
        deadline: int,
        upstream_args: Callable[[], Sequence[Any]] | None = None,
    ) -> Outcome:
        """Call the function and return how it ended; errors of the function are not raised.

        Args:
            opened: the message.
            plan: the plan for its head.
            attempt: number of this run, from 1.
            deadline: monotonic nanoseconds, 0 = none.
            upstream_args: returns values that are passed before the arguments.

        """
        if plan.call is None and not plan.fault:
            plan.find()
        call = plan.call
        if call is None:
            return Outcome.unrun(Kind.FAILURE, plan.fault)
        try:
            args, kwargs = self._arguments(opened, plan, upstream_args)
        except BaseException as exc:  # noqa: BLE001 - a serializer or an unpickled object may raise anything
            return without_arguments(exc, plan)
        pre, post = self._hooks_of(plan.head.headers) if self._hooks_of else (self._pre, self._post)
        task = plan.task_info(opened, attempt, args, kwargs) if pre or post else None
        started, self._stopped = time.time(), None
        self.running = (opened, plan, attempt, deadline)
        context = copy_context()  # what a task or a hook sets in it is not set for the next task
        try:
            if task is not None:
                call_hooks(pre, context, ExecuteEvent(task=task))
            # Disarmed inside the outer `try`: an alarm at the last instruction is caught below.
            try:
                self._armed = deadline or _NEVER
                if plan.is_async:
                    value = self._await(call, args, kwargs, context)
                else:
                    value = context.run(call, *args, **kwargs)
            finally:
                self._armed = 0
            outcome = Outcome(KIND_SUCCESS, value, started=started, finished=time.time())
        except BaseException as exc:
            if FORKS.count != self._forks:
                leave(exc)
            if isinstance(exc, self._let_out):
                raise
            self._restore()
            outcome = self._raised(exc, plan, started)
            if self._keep_raised:
                self._kept = Raised(exc, task or plan.task_info(opened, attempt, args, kwargs), context)
        if FORKS.count != self._forks:
            os._exit(0)  # The task forked, and this is the child, not the worker.
        if task is not None and post:
            self._restore()
            call_hooks(post, context, ExecuteEvent(task=task, outcome=outcome))
        self.running = None
        return outcome

    def take_raised(self) -> Raised | None:
        """Return what the last run raised, once."""
        kept, self._kept = self._kept, None
        return kept

    def alarm(self, *_: object) -> None:
        """Interrupt the running task if it is cancelled or its time is over: a handler of SIGALRM."""
        if not self._armed:
            return
        if self._is_cancelled():
            self._stopped = Kind.CANCELLED
        elif time.monotonic_ns() >= self._armed:
            self._stopped = Kind.TIMEOUT
        else:
            return
        self._armed = 0
        if self._current is not None:
            self._current.get_loop().call_soon_threadsafe(self._current.cancel)
        else:
            raise TaskCancelled if self._stopped is Kind.CANCELLED else TaskTimeout

    def close(self) -> None:
        """Close the event loop."""
        if self._loop is not None:
            self._loop.close()

    def _arguments(
        self, opened: Opened, plan: TaskPlan, upstream_args: Callable[[], Sequence[Any]] | None
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        data = opened.arguments
        args: Sequence[Any] = ()
        kwargs: Mapping[str, Any] = _NO_KWARGS
        if data:
            loads = self._loads.get(opened.serializer)
            if loads is None:
                msg = f"written by serializer {opened.serializer}, which `accept_serializers` does not list"
                raise DecodeError(msg)
            args = loads(data)
            if opened.named:
                try:
                    args, kwargs = args
                except (TypeError, ValueError) as exc:
                    msg = "they are not a pair of positional and keyword arguments"
                    raise DecodeError(msg) from exc
        elif upstream_args is None:
            return args, kwargs
        if upstream_args is not None:
            args = [*upstream_args(), *args]
        if plan.convert is not None:
            try:
                args, kwargs = plan.convert(args, kwargs)
            except BaseException as exc:
                raise InvalidArguments(exc) from exc
        return args, kwargs

    def _await(
        self, call: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], context: Context
    ) -> Any:  # noqa: ANN401 - whatever the task returns
        # Imported here, because it takes 4 MB that most workers and the supervisor do not need.
        import asyncio  # noqa: PLC0415 - see above

        try:
            if asyncio.events._get_running_loop() is not None:  # noqa: SLF001 - the public function raises if none runs
                return self._await_apart(asyncio, call, args, kwargs, context)
            if self._loop is None:
                self._loop = asyncio.Runner()
            return self._loop.run(self._as_task(asyncio, call, args, kwargs), context=context)
        finally:
            if self._current is not None and not self._current.done():
                self._discard_loop()
            self._current = None

    def _discard_loop(self) -> None:
        """Close a loop that the task has stopped: it holds that task, which would go on in the next one."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        # A task may stop the loop again when it is cancelled, and then is left as it is.
        with suppress(RuntimeError):
            loop.close()

    def _await_apart(
        self,
        asyncio: ModuleType,
        call: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: Context,
    ) -> Any:  # noqa: ANN401 - whatever the task returns
        """Await in a separate thread, because the loop of this thread is running already."""
        # Few processes run tasks inside of awaited code.
        import threading  # noqa: PLC0415 - see above

        values: list[Any] = []
        raised: list[BaseException] = []
        over = threading.Event()

        def work() -> None:
            try:
                with asyncio.Runner() as runner:
                    values.append(runner.run(self._as_task(asyncio, call, args, kwargs), context=context))
            except BaseException as exc:  # noqa: BLE001 - it is raised below
                raised.append(exc)
            finally:
                over.set()

        thread = threading.Thread(target=work, name="qcore-await", daemon=True)
        try:
            thread.start()
            # Not join(), because an interrupted join() marks the thread as ended.
            over.wait()
        except BaseException:
            # Ctrl-C interrupts only this wait, so the task is cancelled explicitly.
            current = self._current
            if current is not None:
                with suppress(RuntimeError):  # its loop was closed, because it has ended
                    current.get_loop().call_soon_threadsafe(current.cancel)
                over.wait()
            raise
        if raised:
            raise raised[0]
        return values[0]

    async def _as_task(
        self,
        asyncio: ModuleType,
        call: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:  # noqa: ANN401 - whatever the task returns
        current = self._current = asyncio.current_task()
        try:
            return await call(*args, **kwargs)
        finally:
            # Subtasks that are still running would otherwise continue during another task. A loop that
            # was closed runs nothing.
            if current.get_loop().is_running():
                left = asyncio.all_tasks() - {current}
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)

    def _raised(self, exc: BaseException, plan: TaskPlan, started: float) -> Outcome:
        if self._stopped is None:
            return raised(exc, plan, started)
        # However the task handled the interruption.
        self._end_children(started)
        text = interruption(self._stopped, plan.timeout / _NANO)
        return Outcome(
            self._stopped, None, text, format_traceback(exc), started=started, finished=time.time()
        )


_NO_KWARGS: Final[dict[str, Any]] = {}


def call_hooks(hooks: Sequence[Callable[..., None]], context: Context, event: ExecuteEvent) -> None:
    """Call hooks in the context of a task."""
    for hook in hooks:
        context.run(hook, event)


def leave(exc: BaseException) -> None:
    """End a child that the task forked and that raised, with the exit status it would have had."""
    code = exc.code if isinstance(exc, SystemExit) else 1
    os._exit(code if isinstance(code, int) else int(code is not None))
