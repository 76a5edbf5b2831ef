"""The child process: lease, execute, settle, in batches."""

from __future__ import annotations

import logging
import os
import random
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendError, BackendUnavailable, NotSupported
from qcore.hookspecs import WorkerEvent
from qcore.journal.progress import PAGE
from qcore.journal.records import ExitReason, WorkerState
from qcore.runtime import Runtime
from qcore.tasks.execute import Executor
from qcore.tasks.limits import Limiter
from qcore.tasks.plan import Planner
from qcore.workers.batch import Batch
from qcore.workers.prefetch import TARGET, Prefetch
from qcore.workers.signals import SignalHandlers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psutil

    from qcore.config import Config
    from qcore.journal.pages import Page
    from qcore.model import Delivery
    from qcore.plugins import Plugins
    from qcore.tasks.limits import Limit
    from qcore.workers.leased import LeasedMessage

_log = logging.getLogger("qcore.worker")

#: Seconds of one wait at an empty queue; only bounds how late odd events are noticed.
_WAIT: Final = 5.0
#: Seconds between looks whether a paused queue goes on: at the start nobody has looked yet if it
#: is paused, which takes but a moment; then ever longer.
_UNKNOWN: Final = 0.005
_PAUSED: Final = 0.2
#: Seconds before the broker is asked again after a failure: from, to, doubling with jitter.
_PATIENCE: Final = (0.05, 5.0)


class _Stop(BaseException):
    """Breaks a wait at an empty queue."""


def _process() -> psutil.Process:
    import psutil  # noqa: PLC0415 - memory of every worker; affinity and max_rss alone need it

    return psutil.Process()


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
        self._home = os.open(".", os.O_RDONLY)
        self._umask = os.umask(0)
        os.umask(self._umask)

    def main(self, owner: bytes, cpus: Sequence[int]) -> int:
        """Work until told to stop or due to leave; return the exit code."""
        self._page.set_state(WorkerState.STARTING)
        self._handlers = SignalHandlers(self._on_stop)
        if cpus:
            _process().cpu_affinity(list(cpus))
        try:
            self._assemble(owner)
        except _Stop:
            self._page.set_state(WorkerState.LEAVING, ExitReason.STOPPED)
            return 0
        self._handlers.look_after_forks()
        PAGE.set(self._page)
        event = WorkerEvent(slot=self._slot, pid=os.getpid(), queue=self._config.name)
        for hook in self._runtime.hooks("qcore_worker_start"):
            hook(event)
        self._page.set_state(WorkerState.IDLE)
        try:
            self._work()
        except _Stop:
            self._reason = ExitReason.STOPPED
        self._page.set_state(WorkerState.LEAVING, self._reason or ExitReason.STOPPED)
        for hook in self._runtime.hooks("qcore_worker_stop"):
            hook(event)
        self._reporters.flush()
        self._executor.close()
        self._broker.close()
        self._store.close()
        return 0

    def _assemble(self, owner: bytes) -> None:
        runtime = self._runtime = Runtime(self._config, self._plugins, owner=owner)
        config = self._config
        self._reporters = runtime.reporters()
        self._executor = Executor(
            runtime.serializers,
            runtime.hooks("qcore_pre_execute"),
            runtime.hooks("qcore_post_execute"),
            self._reporters.report if self._reporters else None,
            cancelled=lambda: self._page.commands.cancelled(*self._page.position()),
        )
        self._handlers.ring(self._executor.alarm)
        self._connect()
        capabilities = self._broker.capabilities
        rules = runtime.rules(receipts=capabilities.receipts, extend=capabilities.extend)
        self._planner = Planner(
            rules, timeout=config.timeout, save=runtime.save_successes, allowed=config.tasks_allowed
        )
        self._prefetch = Prefetch(config, capabilities.bulk)
        self._gate = Limiter(self._store)
        self._batch = Batch(runtime, self._broker, self._store, self._planner, self._page)

    def _connect(self) -> None:
        """Connect, however long the broker takes to come up."""
        patience = _PATIENCE[0]
        while True:
            try:
                self._broker = self._runtime.make_broker()
                self._store = self._runtime.make_store()
            except BackendUnavailable as exc:
                patience = self._be_patient(exc, patience)
            else:
                return

    def _work(self) -> None:
        deliveries: Sequence[Delivery] = ()
        while True:
            if not deliveries:
                if self._stopping:
                    return
                deliveries = self._lease()
                continue
            entries = self._take(deliveries)
            began = time.monotonic_ns()
            self._measure_wait(entries)
            self._run(entries, began)
            self._prefetch.adapt(deliveries, time.monotonic_ns() - began)
            self._handlers.tidy()
            if self._due_to_leave():
                self._settle(0)
                return
            deliveries = self._settle(
                0 if self._stopping or self._page.commands.paused else self._prefetch.next(self._total)
            )

    def _run(self, entries: Sequence[LeasedMessage], now: int) -> None:
        """Run a batch, task by task."""
        page, batch, executor = self._page, self._batch, self._executor
        began = now
        #: tasks whose time is counted; deferred ones are not among them
        counted = self._total
        for index, entry in enumerate(entries):
            if self._stopping:
                break
            plan = entry.plan
            if plan.call is None:
                # Importing a user's module can end the process: then this message was running.
                # It does not count as the task's time; the next worker would import it again.
                if not page.begin(index, now, 0):
                    break
                plan.find()
                now = time.monotonic_ns()
            deadline = now + plan.timeout if plan.timeout else 0
            if not page.begin(index, now, deadline):
                break
            if plan.limit is not None:
                wait = self._enter(entry.opened.id, plan.limit)
                if wait:
                    if not batch.defer(index, entry, wait):
                        break
                    page.end(index + 1, self._total)
                    continue
            started = now
            outcome = executor.run(entry.opened, plan, entry.failures + 1, deadline, entry.upstream_args)
            self._total += 1
            roomy = batch.finish(index, entry, outcome)
            if plan.limit is not None:
                # Over for whoever prolongs places before it is given up, or he would take it again.
                page.end(index + 1, self._total)
                self._gate.leave(entry.opened.id, plan.limit)
            os.fchdir(self._home)
            os.umask(self._umask)
            now = time.monotonic_ns()
            if not roomy or now - began > TARGET:
                # The last one alone may have taken most of it.
                page.metrics.ran(1, now - started)
                if others := self._total - counted - 1:
                    page.metrics.ran(others, (started - began) // others)
                counted = self._total
                page.end(index + 1, self._total)
                self._settle(0)
                # However long that took, it is not the next task's time.
                began = now = time.monotonic_ns()
        if ran := self._total - counted:
            page.metrics.ran(ran, (now - began) // ran)
        page.end(batch.ended, self._total)
        batch.release_unstarted()

    def _enter(self, id: bytes, limit: Limit) -> float:
        """Return the seconds for which a task under a limit has to wait, 0.0 if it may begin."""
        patience = _PATIENCE[0]
        while True:
            try:
                return self._gate.enter(id, limit)
            except BackendUnavailable as exc:
                patience = self._be_patient(exc, patience)
                if self._stopping:
                    return patience
            except NotSupported as exc:
                _log.error("task %s is not run before this is mended: %s", id.hex(), exc)
                return self._config.retry

    def _measure_wait(self, entries: Sequence[LeasedMessage]) -> None:
        """Take for all of a batch what its first message has waited, if its age tells."""
        if entries and entries[0].deliveries == 1 and not entries[0].plan.head.delayed:
            waited = time.time_ns() - entries[0].opened.created * 1_000_000
            self._page.metrics.waited(len(entries), waited)

    def _lease(self) -> Sequence[Delivery]:
        """Wait at an empty queue."""
        self._page.set_state(WorkerState.IDLE)
        self._prefetch.begin_anew()
        patience = _PATIENCE[0]
        while True:
            try:
                # Told before we look whether to stop: a signal in between breaks the wait.
                self._waiting = True
                if self._stopping:
                    return ()
                self._rest()
                deliveries = self._broker.lease(1, _WAIT)
            except BackendUnavailable as exc:
                self._waiting = False
                patience = self._be_patient(exc, patience)
                continue
            finally:
                self._waiting = False
            if deliveries and self._page.commands.paused:
                # It was paused while we waited.
                self._batch.release_unaccepted(deliveries)
                self._settle(0)
            elif deliveries:
                self._page.set_state(WorkerState.BUSY)
                return deliveries

    def _rest(self) -> None:
        """Wait while the queue is paused, or nobody knows yet whether it is; a stop breaks it."""
        patience = _UNKNOWN
        while self._page.commands.paused:
            time.sleep(patience)
            patience = min(patience * 2, _PAUSED)

    def _take(self, deliveries: Sequence[Delivery]) -> Sequence[LeasedMessage]:
        """Note down what was leased, once the result store says what of it has ended before."""
        end = time.monotonic() + self._config.retry
        patience = _PATIENCE[0]
        while True:
            try:
                return self._batch.accept(deliveries)
            except BackendUnavailable as exc:
                patience = self._be_patient(exc, patience)
                if self._stopping or time.monotonic() > end:
                    # Not noted down, so not renewed: somebody else may have them by now.
                    self._batch.release_unaccepted(deliveries)
                    return self._batch.accept(())

    def _settle(self, limit: int) -> Sequence[Delivery]:
        """Make what is finished durable and take the next batch, however long it takes."""
        patience = _PATIENCE[0]
        while True:
            try:
                return self._batch.settle(limit)
            except BackendUnavailable as exc:
                patience = self._be_patient(exc, patience)
                if self._stopping:
                    # What is not settled is in the journal: the supervisor goes on with it.
                    raise _Stop from exc

    def _be_patient(self, exc: BackendError, patience: float) -> float:
        _log.warning("worker %d waits %.2g s: %s", self._slot, patience, exc)
        end = time.monotonic() + patience * (0.5 + random.random() / 2)  # noqa: S311 - jitter
        while not self._stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        if self._stopping and not hasattr(self, "_batch"):
            raise _Stop
        return min(patience * 2, _PATIENCE[1])

    def _due_to_leave(self) -> bool:
        config = self._config
        if config.recycle and self._total >= config.recycle:
            self._reason = ExitReason.RECYCLED
        elif config.max_rss and _process().memory_info().rss >= config.max_rss * 1024:
            self._reason = ExitReason.MEMORY
        return self._reason is not ExitReason.NOT

    def _on_stop(self, *_: object) -> None:
        self._stopping = True
        if self._waiting:
            self._waiting = False
            raise _Stop
