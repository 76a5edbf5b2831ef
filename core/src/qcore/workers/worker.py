"""The child process: lease, execute, settle, in batches."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from qcore.errors import BackendError, BackendUnavailable, Interrupted
from qcore.guarding import guarded
from qcore.hookspecs import WorkerEvent
from qcore.journal.progress import PAGE
from qcore.journal.records import ExitReason, WorkerState
from qcore.journal.waiting import ONLY_WORKER_OF
from qcore.runtime import Runtime
from qcore.tasks.current import RUNNER
from qcore.tasks.execute import Executor
from qcore.tasks.plan import Planner
from qcore.tasks.run_hooks import RunHooks
from qcore.tasks.transaction import CURRENT
from qcore.worker_hooks import HOOKS
from qcore.workers.at_most_once import BeginOnce
from qcore.workers.batch import Batch
from qcore.workers.farewell import say_farewell
from qcore.workers.own_rules import OwnRules
from qcore.workers.prefetch import TARGET, Prefetch
from qcore.workers.replacement import process, replacement_due
from qcore.workers.waiting import Failures
from qcore_logs import setup
from qcore_process.children import end_children
from qcore_process.handlers import SignalHandlers
from qcore_process.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.config import Config
    from qcore.journal.pages import Page
    from qcore.model import Delivery
    from qcore.plugins import Plugins
    from qcore.tasks.plan import TaskPlan
    from qcore.workers.leased import LeasedMessage
    from qcore_process.backoff import Backoff

_log = logging.getLogger("qcore.worker")

#: Seconds of one wait at an empty queue; it only bounds how late rare events are noticed.
_WAIT: Final = 5.0

_T = TypeVar("_T")


class _Stop(Interrupted):
    """Interrupts the wait at an empty queue."""


class Worker:
    """One worker process from its first line to its exit code."""

    def __init__(self, config: Config, plugins: Plugins, page: Page, slot: int) -> None:
        self._config = config
        self._plugins = plugins
        self._page = page
        self._slot = slot
        self._stopping = False
        self._waiting = False
        self._reason = ExitReason.NOT
        self._total = 0
        self._failures = Failures(
            slot, lambda: self._stopping, page.commands.mark_beat, page.metrics.count_error
        )
        self._surroundings = Surroundings()

    def main(self, owner: bytes, cpus: Sequence[int]) -> int:
        """Work until stopped or due to be replaced; return the exit code."""
        self._page.set_state(WorkerState.STARTING)
        self._handlers = SignalHandlers(self._on_stop)
        if cpus:
            process().cpu_affinity(list(cpus))
        try:
            self._assemble(owner)
        except _Stop:
            self._page.set_state(WorkerState.LEAVING, ExitReason.STOPPED)
            return 0
        self._handlers.reset_in_forks()
        PAGE.set(self._page)
        CURRENT.set(self._batch.transaction)
        RUNNER.set((self._executor, self._config.name))
        ONLY_WORKER_OF.set(self._config.name if self._config.workers == 1 else None)
        event = WorkerEvent(slot=self._slot, pid=os.getpid(), cluster=self._config.name)
        for hook in self._runtime.all_hooks("qcore_worker_start"):
            hook(event)
        HOOKS.start()
        self._page.set_state(WorkerState.IDLE)
        try:
            self._work()
        except _Stop:
            self._reason = ExitReason.STOPPED
        self._page.set_state(WorkerState.LEAVING, self._reason or ExitReason.STOPPED)
        for hook in self._runtime.all_hooks("qcore_worker_stop"):
            hook(event)
        self._reporters.flush()
        self._executor.close()
        self._batch.rejections.flush()
        self._failures.close(self._broker, self._store, self._runtime)
        say_farewell(self._slot)
        return 0

    def _assemble(self, owner: bytes) -> None:
        config = self._config
        runtime = self._runtime = Runtime(config, self._plugins, owner=owner, guard=guarded)
        self._reporters = runtime.reporters
        self._executor = Executor(
            runtime.serializers,
            RunHooks.of(runtime),
            keep_raised=bool(self._reporters),
            cancelled=lambda: self._page.commands.cancelled(*self._page.position()),
            restore=self._surroundings.restore_streams,
            end_children=end_children if config.daemonize_workers else lambda _: None,
        )
        self._handlers.set_alarm(self._executor.alarm)
        # However long the backends take to start.
        self._broker = self._connected(lambda: runtime.make_broker(create=False))
        self._store = self._connected(lambda: runtime.make_store(create=False))
        # A worker is one thread: its coordination store may share the connection of its results.
        runtime.coordination_stores.give(
            self._connected(lambda: runtime.make_coordination_store(beside=self._store, create=False))
        )
        capabilities = self._broker.capabilities
        rules = runtime.rules(redelivers=capabilities.redelivers, extend=capabilities.extend)
        self._planner = Planner(
            rules,
            timeout=config.timeout,
            save=runtime.save_successes,
            allowed=config.tasks_allowed,
            once=config.at_most_once,
        )
        self._prefetch = Prefetch(config, capabilities.max_batch)
        self._batch = Batch(runtime, self._broker, self._store, self._planner, self._page)
        self._batch.ends.take_raised = self._executor.take_raised
        once = BeginOnce(runtime, self._store, self._page, self._batch, self._until_answered)
        self._own_rules = OwnRules(runtime, self._page, once, self._failures, lambda: self._stopping)

    def _connected(self, make: Callable[[], _T]) -> _T:
        """Return a connection once the backend gives one."""
        backoff = self._failures.backoff()
        while True:
            try:
                return make()
            except BackendError as exc:
                self._wait_out(exc, backoff)

    def _work(self) -> None:
        deliveries: Sequence[Delivery] = ()
        while True:
            if not deliveries:
                if self._stopping:
                    return
                deliveries = self._lease()
                continue
            entries = self._accept(deliveries)
            began = time.monotonic_ns()
            self._run(entries, began)
            self._prefetch.adapt(deliveries, time.monotonic_ns() - began)
            self._handlers.restore()
            self._surroundings.after_batch()
            self._reason = replacement_due(self._config, self._total)
            if self._reason is not ExitReason.NOT:
                self._settle(0)
                return
            deliveries = self._settle(
                0 if self._stopping or self._page.commands.paused else self._prefetch.next(self._total)
            )

    def _run(self, entries: Sequence[LeasedMessage], now: int) -> None:
        """Run a batch, task by task."""
        page, batch = self._page, self._batch
        run, after_task = self._executor.run, self._surroundings.after_task
        monotonic_ns = time.monotonic_ns
        began = now
        #: tasks whose time is counted; deferred ones are not
        counted = self._total
        for index, entry in enumerate(entries):
            if self._stopping:
                break
            plan = entry.plan
            if plan.call is None:
                # Importing a user's module can end the process, and then this message counts as running.
                # The import is not part of the task's time, because the next worker would repeat it.
                if not page.begin(index, now, 0):
                    break
                self._find(plan)
                now = time.monotonic_ns()
            deadline = now + plan.timeout if plan.timeout and not plan.once else 0
            if not page.begin(index, now, deadline):
                break
            started = now
            outcome = None
            # Most tasks have no rules of their own.
            if special := plan.special:
                outcome, deadline, wait = self._own_rules.begin(index, entry, deadline)
                if wait:
                    if not batch.defer(index, entry, wait):
                        break
                    page.end(index + 1, self._total)
                    continue
            if outcome is None:
                outcome = run(entry.opened, plan, entry.failures + 1, deadline, entry.upstream_args)
            self._total += 1
            recorded = batch.finish(index, entry, outcome)
            if special:
                self._own_rules.end(index, entry, self._total)
            after_task()
            now = monotonic_ns()
            if not recorded or now - began > TARGET:
                # The last task alone may have taken most of the time.
                page.metrics.ran(1, now - started)
                if others := self._total - counted - 1:
                    page.metrics.ran(others, (started - began) // others)
                counted = self._total
                page.end(index + 1, self._total)
                self._settle(0)
                began = now = time.monotonic_ns()
        if ran := self._total - counted:
            page.metrics.ran(ran, (now - began) // ran)
        page.end(batch.ended, self._total)
        batch.release_unstarted()

    def _find(self, plan: TaskPlan) -> None:
        """Find a task's function, which may import a module of the program's."""
        self._surroundings.after_batch()
        plan.find()
        self._surroundings.adopt()
        setup.complete(self._config)
        self._batch.events.look_up()
        HOOKS.start()

    def _lease(self) -> Sequence[Delivery]:
        """Wait until the queue has a message; return nothing when stopped."""
        self._page.set_state(WorkerState.IDLE)
        self._prefetch.reset()
        backoff = self._failures.backoff()
        while True:
            try:
                self._batch.rejections.flush(due=True)
                # This is set before `_stopping` is read, so a signal in between interrupts the wait.
                self._waiting = True
                if self._stopping:
                    return ()
                self._page.commands.await_resume()
                self._page.commands.mark_beat()
                deliveries = self._broker.lease(1, _WAIT)
            except BackendError as exc:
                # One that rejects the call may be mended meanwhile, and a new worker would meet the same.
                self._waiting = False
                self._wait_out(exc, backoff)
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

    def _accept(self, deliveries: Sequence[Delivery]) -> Sequence[LeasedMessage]:
        """Record leased messages in the journal, once the result store has said which have ended before."""
        began, backoff = time.monotonic(), None
        while True:
            try:
                return self._batch.accept(deliveries)
            except BackendUnavailable as exc:
                self._wait_out(exc, backoff := backoff or self._failures.backoff())
                if self._stopping or time.monotonic() > began + self._config.retry:
                    # They are not in the journal, so their leases were not renewed and may have expired.
                    self._batch.release(deliveries)
                    return self._batch.accept(())

    def _settle(self, limit: int) -> Sequence[Delivery]:
        """Make what has finished durable and lease the next batch, however long that takes."""
        return self._until_answered(self._batch.settle, limit)

    def _until_answered(self, call: Callable[..., _T], *args: Any) -> _T:
        """Make a call until a backend answers it; a stop ends the worker instead."""
        backoff = None
        while True:
            self._page.commands.mark_beat()
            try:
                return call(*args)
            except BackendUnavailable as exc:
                self._wait_out(exc, backoff := backoff or self._failures.backoff())
                if self._stopping:
                    # What is not settled is in the journal, and the supervisor settles it.
                    raise _Stop from exc

    def _wait_out(self, exc: BackendError, backoff: Backoff) -> None:
        """Wait before the next try; a stop ends the wait, and a worker without a connection."""
        self._failures.wait_out(exc, backoff)
        if self._stopping and not hasattr(self, "_batch"):
            raise _Stop

    def _on_stop(self, *_: object) -> None:
        self._stopping = True
        if self._waiting:
            self._waiting = False
            raise _Stop
