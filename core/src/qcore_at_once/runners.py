"""The event loop and the threads that run tasks at once."""

from __future__ import annotations

import asyncio
import importlib
import logging
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from qcore.compared import KIND_SUCCESS
from qcore.model import Kind, Outcome
from qcore.tasks.transaction import CURRENT
from qcore_at_once.cell_runs import CellRun, NoTransaction, outcome_of
from qcore_at_once.threaded import TaskThread, ThreadExecutor, ThreadRun
from qcore_loop.blocked import BlockWatch
from qcore_loop.loop_thread import LoopThread
from qcore_text.sanitize import line

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.config import Config
    from qcore_at_once.awaited import AwaitedRun, Awaiter

_log = logging.getLogger("qcore.worker")


class Coroutines:
    """Runs asynchronous tasks on one event loop."""

    def __init__(self, config: Config, awaiter: Awaiter, ended: Callable[[CellRun], None]) -> None:
        self._queue = config.name
        self._awaiter = awaiter
        self._ended = ended
        #: what every task finds in its context
        self._context = copy_context()
        no_transaction: Any = NoTransaction()
        self._context.run(CURRENT.set, no_transaction)
        #: how many more may begin
        self.room = config.coroutines
        self._prepared: list[AwaitedRun[CellRun]] = []
        self._running: set[AwaitedRun[CellRun]] = set()
        self.loop = LoopThread(new_loop_of(config.event_loop))
        self._watch = BlockWatch(self.loop, self._tell)

    def prepare(self, one: CellRun) -> Outcome | None:
        """Have a task begin with the next `start`; return how it ended if it cannot be called."""
        message = one.message
        run = self._awaiter.begin(
            (message.opened, message.plan, message.failures + 1, one.deadline),
            upstream_args=message.upstream_args,
            queue=self._queue,
            context=self._context.copy(),
            of=one,
            tell=self._ended,
        )
        if isinstance(run, Outcome):
            one.raised = self._awaiter.take_raised()
            return run
        one.run = run
        self._running.add(run)
        self._prepared.append(run)
        self.room -= 1
        return None

    def start(self) -> None:
        """Have what is prepared begin."""
        if self._prepared:
            prepared, self._prepared = self._prepared, []
            self.loop.start(prepared)
            self._watch.watch(wanted=True)

    def end(self, one: CellRun, run: AwaitedRun[CellRun]) -> Outcome:
        """Return how a task ended."""
        self.room += 1
        self._running.remove(run)
        if not self._running:
            self._watch.watch(wanted=False)
        outcome = self._awaiter.end(run)
        if outcome.kind is not KIND_SUCCESS:
            one.raised = self._awaiter.take_raised()
        return outcome

    def interrupt(self, run: AwaitedRun[CellRun], kind: Kind) -> bool:
        """Cancel a coroutine; called by a signal handler."""
        run.stopped = kind
        self.loop.cancel(run)
        return True

    def close(self) -> None:
        """End the loop."""
        self._watch.close()
        self.loop.close()

    def _tell(self, seconds: float, stack: str) -> None:
        current = asyncio.current_task(self.loop.loop)
        who = next((run.of for run in list(self._running) if run.task is current), None)
        what = f"task {who.message.opened.id.hex()} ({line(who.message.plan.name)})" if who else "a subtask"
        _log.warning(
            "%s has blocked the event loop of its worker for %.1f s, and with it all asynchronous tasks "
            "there; await what takes long, or call it by asyncio.to_thread:\n%s",
            what,
            seconds,
            stack.rstrip(),
        )


class Threads:
    """Runs plain functions, each in a thread."""

    def __init__(
        self, config: Config, make: Callable[[], ThreadExecutor], ended: Callable[[CellRun], None]
    ) -> None:
        self._queue = config.name
        self._make = make
        self._ended = ended
        self._transaction = NoTransaction()
        #: how many more may begin
        self.room = config.threads
        self._all: list[TaskThread] = []
        self._idle: list[TaskThread] = []

    def start(self, one: CellRun) -> None:
        """Have a task begin."""
        self.room -= 1
        message = one.message
        attempt = message.failures + 1
        run = ThreadRun(
            (message.opened, message.plan, attempt, one.deadline, message.upstream_args),
            lambda: one.enter(self._transaction),
            lambda: self._ended(one),
        )
        one.run = run
        thread = self._idle.pop() if self._idle else self._new()
        thread.start(run)

    def end(self, one: CellRun, run: ThreadRun) -> Outcome:
        """Return how a task ended."""
        self.room += 1
        self._idle.append(run.thread)
        one.raised = run.raised
        return outcome_of(run)

    def interrupt(self, run: ThreadRun, kind: Kind) -> bool:
        """Raise an exception in a task; called by a signal handler."""
        return run.thread.executor.interrupt(kind)

    def close(self) -> None:
        """End the threads that are idle."""
        for thread in self._all:
            thread.close()
        for thread in self._idle:
            thread.join()

    def _new(self) -> TaskThread:
        thread = TaskThread(len(self._all), self._make(), self._queue)
        self._all.append(thread)
        return thread


class Runners:
    """Both, as far as they are needed."""

    def __init__(
        self,
        config: Config,
        make_awaiter: Callable[[], Awaiter],
        make_executor: Callable[[], ThreadExecutor],
        ended: Callable[[CellRun], None],
    ) -> None:
        self._make: Callable[[], Coroutines] = lambda: Coroutines(config, make_awaiter(), ended)
        self._most = config.coroutines
        self._coroutines: Coroutines | None = None
        self._threads = Threads(config, make_executor, ended)

    @property
    def room_for_coroutines(self) -> int:
        """How many more coroutines may begin."""
        return self._most if self._coroutines is None else self._coroutines.room

    @property
    def room_for_threads(self) -> int:
        """How many more plain functions may begin."""
        return self._threads.room

    @property
    def room(self) -> tuple[int, int]:
        """How many more coroutines and plain functions may begin."""
        return self.room_for_coroutines, self.room_for_threads

    def begin(self, one: CellRun) -> Outcome | None:
        """Have a task begin, a coroutine with `start_coroutines`; return how it ended if it cannot."""
        if not one.message.plan.is_async:
            self._threads.start(one)
            return None
        if self._coroutines is None:
            self._coroutines = self._make()
        return self._coroutines.prepare(one)

    def start_coroutines(self) -> None:
        """Have those begin that were prepared."""
        if self._coroutines is not None:
            self._coroutines.start()

    def end(self, one: CellRun) -> Outcome:
        """Return how a task ended."""
        run, one.run = one.run, None
        if isinstance(run, ThreadRun):
            return self._threads.end(one, run)
        if run is None or self._coroutines is None:
            msg = f"the task in cell {one.cell} has ended twice"
            raise RuntimeError(msg)
        return self._coroutines.end(one, run)

    def interrupt(self, one: CellRun, kind: Kind) -> bool:
        """Interrupt a task; return False if it cannot be interrupted now; called by a signal handler."""
        run = one.run
        if isinstance(run, ThreadRun):
            return self._threads.interrupt(run, kind)
        if run is None or self._coroutines is None:
            return False
        return self._coroutines.interrupt(run, kind)

    def close(self) -> None:
        """End all threads."""
        if self._coroutines is not None:
            self._coroutines.close()
        self._threads.close()


def new_loop_of(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes a loop of `asyncio` or of `uvloop`."""
    make: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(name).new_event_loop
    return make
