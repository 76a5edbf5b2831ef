"""Runs one of several plain functions in a thread."""

from __future__ import annotations

import queue
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import TaskCancelled, TaskTimeout
from qcore.model import Kind, Outcome
from qcore.tasks.current import RUNNER
from qcore.tasks.execute import Executor
from qcore.tasks.outcomes import interruption
from qcore_loop.interrupts import Interruptible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.messages.envelope import Opened
    from qcore.tasks.execute import Raised
    from qcore.tasks.plan import TaskPlan

_NANO: Final = 1_000_000_000
#: Seconds that idle threads are given to end.
_CLOSE: Final = 1.0


class ThreadExecutor(Executor):
    """Runs tasks one after the other in one thread, where signals do not reach them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._block = Interruptible()

    def run(
        self,
        opened: Opened,
        plan: TaskPlan,
        attempt: int,
        deadline: int,
        upstream_args: Callable[[], Sequence[Any]] | None = None,
    ) -> Outcome:
        """Call the function and return how it ended, see `Executor.run`."""
        try:
            with self._block:
                return super().run(opened, plan, attempt, deadline, upstream_args)
        except BaseException as exc:
            # It was interrupted in the lines around the task.
            if self._stopped is None or not isinstance(exc, (TaskCancelled, TaskTimeout)):
                raise
            self.running = None
            return Outcome.unrun(self._stopped, interruption(self._stopped, plan.timeout / _NANO))

    def interrupt(self, kind: Kind) -> bool:
        """Interrupt the running task; return False if it cannot be interrupted now."""
        if not self._armed or self._stopped is not None:
            return False
        self._stopped = kind
        return self._block.interrupt(TaskCancelled if kind is Kind.CANCELLED else TaskTimeout)


class ThreadRun:
    """One task while it runs in a thread."""

    __slots__ = ("args", "ended", "enter", "outcome", "raised", "thread")

    def __init__(self, args: tuple[Any, ...], enter: Callable[[], None], ended: Callable[[], None]) -> None:
        #: those of `Executor.run`
        self.args = args
        #: makes the context of the thread that of the task
        self.enter = enter
        #: is called in the thread at the end
        self.ended = ended
        self.outcome: Outcome | None = None
        self.raised: Raised | None = None
        self.thread: TaskThread


class TaskThread:
    """One thread that runs tasks."""

    def __init__(self, number: int, executor: ThreadExecutor, name: str) -> None:
        self.executor = executor
        self._name = name
        self._runs: queue.SimpleQueue[ThreadRun | None] = queue.SimpleQueue()
        # What hooks have set at the start of the worker holds in its threads as well.
        work = (self._work,)
        self._thread = threading.Thread(
            target=copy_context().run, args=work, name=f"qcore-task-{number}", daemon=True
        )
        self._thread.start()

    def start(self, run: ThreadRun) -> None:
        """Run a task; the one before has ended."""
        run.thread = self
        self._runs.put(run)

    def close(self) -> None:
        """End the thread, unless a task is running in it."""
        self._runs.put(None)

    def join(self) -> None:
        """Wait for its end a moment."""
        self._thread.join(_CLOSE)

    def _work(self) -> None:
        RUNNER.set((self.executor, self._name))
        while (run := self._runs.get()) is not None:
            run.enter()
            try:
                run.outcome = self.executor.run(*run.args)
                run.raised = self.executor.take_raised()
            finally:
                # Without an outcome this is a fault of qcore, and the worker ends with it.
                run.ended()
        self.executor.close()
