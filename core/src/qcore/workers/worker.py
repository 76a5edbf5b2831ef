"""The child process: lease, execute, settle, in batches."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError
from qcore.hookspecs import WorkerEvent
from qcore.journal.progress import PAGE
from qcore.journal.records import ExitReason, WorkerState
from qcore.journal.waiting import ONLY_WORKER_OF
from qcore.tasks.current import RUNNER
from qcore.tasks.execute import Executor
from qcore.tasks.transaction import CURRENT
from qcore.workers.at_most_once import BeginOnce
from qcore.workers.batch import Batch
from qcore.workers.executors import make_executor
from qcore.workers.own_rules import OwnRules
from qcore.workers.patience import Patience, Stop
from qcore.workers.prefetch import TARGET, Prefetch
from qcore.workers.replacement import process, replacement_due
from qcore.workers.sharing import OneByOne, Parts, Sharing, task_runner
from qcore_logs import setup
from qcore_process.children import end_children
from qcore_process.farewell import say_farewell
from qcore_process.handlers import SignalHandlers
from qcore_process.life import Life
from qcore_process.worker_hooks import HOOKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.journal.pages import Page
    from qcore.model import Delivery
    from qcore.tasks.plan import TaskPlan
    from qcore.workers.leased import LeasedMessage
    from qcore.workers.prepared import Backends, Prepared

#: Seconds of one wait at an empty queue; it only bounds how late rare events are noticed.
_WAIT: Final = 5.0


class Worker:
    """One worker process from its first line to its exit code."""

    def __init__(self, prepared: Prepared, page: Page, slot: int) -> None:
        self._prepared = prepared
        self._config = prepared.config
        self._runtime = prepared.runtime
        self._surroundings = prepared.surroundings
        self._page = page
        self._slot = slot
        self.stopping = False
        self._waiting = False
        #: messages of the batch that are to run at once with others
        self._shared: Sequence[LeasedMessage] = ()
        self._reason = ExitReason.NOT
        #: how many modules there were when what they had changed was last looked at
        self._modules = len(sys.modules)
        self._backends: Backends | None = None
        self._runner = task_runner(prepared.runtime)
        self.total = 0
        self._patience = Patience(slot, page, lambda: self.stopping)
        self._failures = self._patience.failures

    def main(self, owner: bytes, cpus: Sequence[int]) -> int:
        """Work until stopped or due to be replaced; return the exit code."""
        self._page.set_state(WorkerState.STARTING)
        self._handlers = SignalHandlers(self._on_term)
        if cpus:
            process().cpu_affinity(list(cpus))
        try:
            self._connect(owner)
        except Stop:
            self._page.set_state(WorkerState.LEAVING, ExitReason.STOPPED)
            return 0
        self._handlers.reset_in_forks()
        PAGE.set(self._page)
        CURRENT.set(self._batch.transaction)
        RUNNER.set((self._executor, self._config.name))
        ONLY_WORKER_OF.set(self._config.name if self._config.workers == 1 else None)
        event = WorkerEvent(slot=self._slot, pid=os.getpid(), cluster=self._config.name)
        for hook in self._on_start:
            hook(event)
        HOOKS.start()
        self._page.set_state(WorkerState.IDLE)
        try:
            self._work()
        except Stop:
            self._reason = ExitReason.STOPPED
        self._page.set_state(WorkerState.LEAVING, self._reason or ExitReason.STOPPED)
        for hook in self._on_stop:
            hook(event)
        self._sharing.close()
        self._reporters.flush()
        self._executor.close()
        self._batch.rejections.flush()
        self._failures.close(self._broker, self._store, self._runtime)
        say_farewell(self._slot)
        return 0

    def assemble(self, backends: Backends) -> None:
        """Make all parts, which may be done before this worker is forked."""
        config, runtime = self._config, self._runtime
        self._backends = backends
        self._broker, self._store, _ = backends
        self._on_start, self._on_stop = map(runtime.all_hooks, ("qcore_worker_start", "qcore_worker_stop"))
        self._executor = make_executor(
            Executor,
            runtime,
            self._surroundings,
            cancelled=lambda: self._page.commands.cancelled(*self._page.position()),
            end_children=end_children if config.daemonize_workers else lambda _: None,
        )
        capabilities = self._broker.capabilities
        self._planner = self._prepared.planner(capabilities)
        self._prefetch = Prefetch(config, capabilities.max_batch)
        kind = self._runner.batch if self._runner else Batch
        self._batch = kind(runtime, self._broker, self._store, self._planner, self._page)
        self._batch.ends.take_raised = self._executor.take_raised
        once = BeginOnce(runtime, self._store, self._page, self._batch, self._patience.until_answered)
        self._own_rules = OwnRules(runtime, self._page, once, self._failures, lambda: self.stopping)
        self._sharing: Sharing = OneByOne()
        if self._runner:
            parts = (runtime, self._page, self._batch, self._own_rules, self._prefetch, self._patience)
            self._sharing = self._runner.share(self, Parts(*parts, self._surroundings))

    def _connect(self, owner: bytes) -> None:
        """Have all parts serve this process, or make them, however long the backends take to start."""
        self.life = Life()
        self._runtime.owner = owner
        self._runtime.left_out = self._page.commands.left_out
        self._page.attach()
        backends = self._prepared.backends
        if backends is None or not self._patience.connected(partial(backends.after_fork, owner)):
            backends = self._patience.connected(self._prepared.connect)
        if backends is not self._backends:
            self.assemble(backends)
        self._reporters = self._runtime.reporters
        self._reporters.on_count = self._page.metrics.count_reports
        self._executor.after_fork()
        self._batch.transaction.pid = os.getpid()
        self._runtime.coordination_stores.begin_with(backends.coordination)
        self._handlers.set_alarm(self._on_alarm)
        self._first = self._prefetch.begin(self._page.commands.take_over())

    def _work(self) -> None:
        deliveries: Sequence[Delivery] = ()
        while True:
            if not deliveries:
                if self.stopping:
                    return
                deliveries = self._lease()
                continue
            entries = self._batch.take(self._patience.screened(self._batch, deliveries, self._config.retry))
            began = time.monotonic_ns()
            self._batch.events.measure_wait(self._page, entries)
            if self._sharing.always:
                self._shared = entries
            else:
                self._run(entries, began)
            if self._shared:
                self._run_shared()
            else:
                self._prefetch.adapt(deliveries, time.monotonic_ns() - began)
            self._handlers.restore()
            self._surroundings.after_batch()
            self._reason = replacement_due(self._config, self.total, self.life)
            if self._reason is not ExitReason.NOT:
                self._settle(0)
                self._page.commands.hand_on(self._prefetch.wanted)
                return
            deliveries = self._settle(
                0 if self.stopping or self._page.commands.paused else self._prefetch.next(self.total)
            )

    def _run(self, entries: Sequence[LeasedMessage], now: int) -> None:
        """Run a batch, task by task."""
        page, batch = self._page, self._batch
        run, after_task = self._executor.run, self._surroundings.after_task
        monotonic_ns = time.monotonic_ns
        began = now
        #: tasks whose time is counted; deferred ones are not
        counted = self.total
        for index, entry in enumerate(entries):
            if self.stopping:
                break
            plan = entry.plan
            if plan.call is None:
                # Importing a user's module can end the process, and then this message counts as running.
                # The import is not part of the task's time, because the next worker would repeat it.
                if not page.begin(index, now, 0):
                    break
                self.find(plan)
                now = time.monotonic_ns()
            deadline = now + plan.timeout if plan.timeout and not plan.once else 0
            if not page.begin(index, now, deadline):
                break
            started = now
            outcome = None
            # Most tasks have no rules of their own.
            if special := plan.special:
                if plan.is_async and self._sharing.wanted and not entry.runs_alone:
                    self._shared = entries[index:]
                    break
                outcome, deadline, wait = self._own_rules.begin(index, entry, deadline)
                if wait:
                    if not batch.defer(index, entry, wait):
                        break
                    page.end(index + 1, self.total)
                    continue
            if outcome is None:
                outcome = run(entry.opened, plan, entry.failures + 1, deadline, entry.upstream_args)
            self.total += 1
            recorded = batch.finish(index, entry, outcome)
            if special:
                self._own_rules.end(index, entry, self.total)
            after_task()
            now = monotonic_ns()
            if not recorded or now - began > TARGET:
                # The last task alone may have taken most of the time.
                page.metrics.ran(1, now - started)
                if others := self.total - counted - 1:
                    page.metrics.ran(others, (started - began) // others)
                counted = self.total
                page.end(index + 1, self.total)
                self._settle(0)
                began = now = time.monotonic_ns()
        if ran := self.total - counted:
            page.metrics.ran(ran, (now - began) // ran)
        page.end(batch.ended, self.total)
        if not self._shared:
            batch.release_unstarted()

    def _run_shared(self) -> None:
        """Run tasks at once, and those between them that run alone."""
        while self._shared:
            # What has ended before them in their batch.
            self._settle(0)
            shared, self._shared = self._shared, ()
            self._run(self._sharing.work(shared), time.monotonic_ns())
        self._prefetch.reset()

    def find(self, plan: TaskPlan) -> None:
        """Find a task's function, which may import a module of the program's."""
        self._surroundings.after_batch()
        plan.find()
        # A task may have imported some before as well.
        if len(sys.modules) == self._modules:
            return
        self._modules = len(sys.modules)
        self._surroundings.adopt()
        setup.complete(self._config)
        self._batch.events.look_up()
        HOOKS.start()

    def _lease(self) -> Sequence[Delivery]:
        """Wait until the queue has a message; return nothing when stopped."""
        self._page.set_state(WorkerState.IDLE)
        # The first takes as many as the worker before it did, if they are there.
        limit, self._first = self._first, 1
        if limit == 1:
            self._prefetch.reset()
        backoff = self._failures.backoff()
        while True:
            try:
                self._batch.rejections.flush(due=True)
                # This is set before `_stopping` is read, so a signal in between interrupts the wait.
                self._waiting = True
                if self.stopping:
                    return ()
                self._page.commands.await_resume()
                self._page.commands.mark_beat()
                deliveries = self._broker.lease(limit, _WAIT if limit == 1 else 0.0)
            except BackendError as exc:
                # One that rejects the call may be mended meanwhile, and a new worker would meet the same.
                self._waiting = False
                self._failures.wait_out(exc, backoff)
                continue
            finally:
                self._waiting = False
            if deliveries and self._page.commands.paused:
                # The queue was paused meanwhile.
                self._batch.release(deliveries)
                self._settle(0)
            elif deliveries:
                self._page.set_state(WorkerState.BUSY)
                return deliveries
            else:
                limit = 1
                self._prefetch.reset()

    def _settle(self, limit: int) -> Sequence[Delivery]:
        """Make what has finished durable and lease the next batch, however long that takes."""
        return self._patience.until_answered(self._batch.settle, limit)

    def _on_alarm(self, *_: object) -> None:
        self._executor.alarm()
        self._sharing.interrupt()

    def _on_term(self, *_: object) -> None:
        self.stopping = True
        if hasattr(self, "_sharing"):
            self._sharing.wake()
        if self._waiting:
            self._waiting = False
            raise Stop
