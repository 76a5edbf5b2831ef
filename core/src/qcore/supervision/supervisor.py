"""The supervisor's loop: deadlines, deaths, signals, status; never the broker."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import QueueMissing, StartFailed
from qcore.hookspecs import ClusterEvent
from qcore.journal.memory import Journal
from qcore.journal.records import WorkerState
from qcore.scheduling import start_firing
from qcore.supervision.deadlines import Watchdog
from qcore.supervision.maintenance import Maintenance
from qcore.supervision.pool import Pool
from qcore.supervision.reload import Reload, first_zygote
from qcore.supervision.status_report import LONG, StatusReport, publish_every
from qcore_process import stop_guard, stop_signals
from qcore_text.sanitize import line
from qcore_text.wording import counted

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from qcore.runtime import Runtime
    from qcore.scheduling import Firing
    from qcore.status import ClusterStatus
    from qcore.supervision.protocol import Boot
    from qcore.supervision.slot import WorkerExit
    from qcore.supervision.zygote_link import ZygoteLink

_log = logging.getLogger("qcore.cluster")

#: Seconds between two readings of the journal while a worker is busy, and while none is. A deadline,
#: or a task that runs for long, is noticed that much later at most.
_TICK_BUSY: Final = 0.02
_TICK_IDLE: Final = 0.1
#: Seconds between two while the first workers become ready, which takes them milliseconds, and for how
#: long it is looked so often: a backend may be away.
_TICK_STARTING: Final = 0.002
_STARTING: Final = 0.2
#: Seconds between two published statuses while a task runs for long.
_PUBLISH: Final = 1.0
#: Seconds between the signal that kills a worker and the moment it is given up.
_KILL_TIMEOUT: Final = 3.0
#: Seconds that the threads are given at the end to write what is left.
_CLOSE_TIMEOUT: Final = 4.0
#: Seconds beyond its timeout after which a stop that hangs is ended, and after the stop the process.
_STOP_TIMEOUT: Final = 8.0
_EXIT_TIMEOUT: Final = 3.0


class Supervisor:
    """Runs one pool of workers from start to stop."""

    def __init__(self, runtime: Runtime, boot: Boot, zygote: ZygoteLink | None = None) -> None:
        self._runtime = runtime
        self._boot = boot
        self._config = runtime.config
        #: a process that has imported the user's module already, and waits to become the zygote
        self._first = zygote
        self._state = "starting"
        #: monotonic seconds: when it began to stop, when workers are killed, when they are given up
        self._stopped_at = 0.0
        self._kill_at: float | None = None
        self._leave_at: float | None = None
        #: why the queue was given up, empty if it was not
        self._lost = ""
        self._published = ("", 0.0)
        self._on_ready: Callable[[], None] = lambda: None
        self._selector = selectors.DefaultSelector()
        #: whether a worker is busy, and whether one has been running the same task for long
        self._busy = self._long = False
        self._pool: Pool
        self._reload: Reload
        self._report: StatusReport
        self._maintenance: Maintenance
        self._watchdog: Watchdog
        self._firing: Firing | None = None

    # -- from start to stop ---------------------------------------------------------------------

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Run the cluster until it is stopped; `on_ready` is called once all workers are ready.

        Raises:
            QueueMissing: the queue was deleted or moved, and not restored.
            StartFailed: no worker could be started; nothing is left running.

        """
        self._on_ready = on_ready
        journal = Journal.create(self._boot.slots)
        # Until the pool exists there is nothing to stop, and a signal ends this process like any other.
        self._boot.parent = os.getpid()
        first = first_zygote(self._first, self._boot, journal, self._runtime, self._selector)
        self._pool = Pool(self._boot, journal, self._config.cpu_affinity, first)
        self._reload = Reload(self._pool, self._selector, self._handle, self._follow_schedules)
        self._pool.on_ready = self._runtime.reporters.listen
        self._report = StatusReport(self._runtime, self._pool)
        self._maintenance = Maintenance(self._runtime, self._pool.slots, self._report.memory)
        self._watchdog = Watchdog(self._pool, self._maintenance)
        with stop_signals.handled(self._selector, self.stop):
            for slot in self._pool.slots:
                self._pool.start_soon(slot)
            try:
                while self._state != "stopping" or not self._pool.is_empty():
                    self._step()
            finally:
                self._end()
        journal.close()
        if self._lost:
            raise QueueMissing(self._lost)

    def stop(self, timeout: float | None = None) -> None:
        """Stop; running tasks may finish within `timeout` seconds, of several calls the shortest."""
        seconds = self._config.shutdown_timeout if timeout is None else timeout
        now = time.monotonic()
        kill_at = now + seconds
        if self._state == "stopping":
            if self._kill_at is not None and kill_at < self._kill_at:
                self._kill_at = kill_at
                stop_guard.arm(seconds + _STOP_TIMEOUT)
            return
        stop_guard.arm(seconds + _STOP_TIMEOUT)
        self._stopped_at = now
        _log.info(
            "cluster %s stops; running tasks are given %s", self._config.name, counted(seconds, "second")
        )
        self._kill_at = kill_at
        self._state = "stopping"
        self._pool.stopping = True
        if self._firing is not None:
            self._firing.halt()
        for slot in self._pool.slots:
            slot.start_at = None
        for slot in self._pool.alive():
            self._pool.signal(slot, signal.SIGTERM)

    def reload(self, before: Callable[[], None]) -> None:
        """Import the user's modules anew and replace the workers; `before` is called just before."""
        if self._state == "running":
            self._reload.begin(before)

    def watch(self, fd: socket.socket | int, then: Callable[[], None]) -> None:
        """Call `then` whenever `fd` can be read."""
        self._selector.register(fd, selectors.EVENT_READ, then)

    def unwatch(self, fd: socket.socket | int) -> None:
        """Forget `fd`."""
        self._selector.unregister(fd)

    def status(self) -> ClusterStatus:
        """Return the status of the cluster now."""
        maintenance = self._maintenance
        schedules = self._firing.trouble if self._firing else ""
        return self._report.status(
            self._public_state(),
            tuple(filter(None, (maintenance.last_error, self._pool.problem, schedules))),
            maintenance,
            self._firing,
        )

    def _public_state(self) -> str:
        if self._state == "running":
            return "working" if self._busy else "idle"
        return self._state

    # -- the loop -------------------------------------------------------------------------------

    def _step(self) -> None:
        self._pool.fill()
        busy = self._state == "starting"
        now = time.monotonic_ns()
        self._watchdog.cancel_requested()
        self._busy = self._long = False
        for slot in self._pool.alive():
            seen = slot.page.snapshot()
            self._busy = self._busy or seen.state == WorkerState.BUSY
            ran = self._watchdog.look(slot, seen, now)
            busy = busy or ran is not None
            self._long = self._long or (ran or 0) > LONG * 1e9
        if self._state == "starting":
            self._check_ready()
        self._handle(self._pool.check())
        self._reload.check()
        self._kill_if_due()
        self._publish_if_due()
        if self._state != "stopping" and (lost := self._maintenance.lost):
            _log.critical("cluster %s ends, because its queue is gone: %s", self._config.name, lost)
            self._runtime.reporters.trouble(f"QueueMissing: {lost}")
            self._lost = lost
            self.stop()
        tick = min(self._config.guard_cycle, _TICK_BUSY if busy else _TICK_IDLE)
        if self._state == "starting" and (alive := self._pool.alive()):
            forked = time.monotonic() - max(slot.started for slot in alive)
            tick = _TICK_STARTING if forked < _STARTING else tick
        for key, _ in self._selector.select(tick):
            key.data()

    def _check_ready(self) -> None:
        pages = [slot.page.snapshot() for slot in self._pool.slots if slot.pid]
        if len(pages) == len(self._pool.slots) and all(page.state != WorkerState.STARTING for page in pages):
            self._state = "running"
            if self._config.scheduler:
                self._firing = start_firing(self._runtime, self._pool.zygote.declared)
            _log.info(
                "cluster %s is ready: %s, supervisor %d",
                self._config.name,
                counted(len(pages), "worker"),
                os.getpid(),
            )
            for hook in self._runtime.all_hooks("qcore_cluster_start"):
                hook(ClusterEvent(status=self.status(), config=self._config))
            self._on_ready()

    def _publish_if_due(self) -> None:
        now = time.monotonic()
        state, last = self._published
        shown = self._public_state()
        every = publish_every(shown, state, self._config.guard_cycle)
        if self._long:
            every = min(every, _PUBLISH)
        if now - last < every:
            return
        self._published = (shown, now)
        status = self.status()
        self._maintenance.publish(status)
        event = ClusterEvent(status=status, config=self._config)
        for hook in self._runtime.all_hooks("qcore_cluster_status"):
            hook(event)

    def _kill_if_due(self) -> None:
        """Kill workers that were told to stop and have not, and give up those that cannot be killed."""
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._leave_at = now + _KILL_TIMEOUT
            running = self.status().workers
            given = counted(round(now - self._stopped_at), "second")
            # One that has ended needs no signal, though the zygote has not reported it yet.
            for slot in (one for one in self._pool.alive() if not one.has_ended()):
                task = running[slot.number]
                runs = f", because task {line(task.task)} {task.task_id} runs" if task.task else ""
                text = "worker %d (pid %d) has not ended within %s%s; it is killed"
                _log.warning(text, slot.number, slot.pid, given, runs)
                self._pool.signal(slot, signal.SIGKILL, "stop")
        if self._leave_at is not None and now >= self._leave_at and not self._pool.is_empty():
            self._leave_at = None
            for one in (self._pool.zygote, *self._pool.retired):
                self._handle(self._pool.replace_zygote("workers that were killed have not ended", one))

    def _handle(self, gone: Sequence[WorkerExit]) -> None:
        self._reload.listen()
        for one in gone:
            self._worker_gone(one)

    def _follow_schedules(self, before: bytes, now: bytes) -> None:
        """Fire what modules declare that were imported anew."""
        if self._firing is not None and before != now:
            self._firing.close(_CLOSE_TIMEOUT)
            self._firing = start_firing(self._runtime, now)

    def _worker_gone(self, gone: WorkerExit) -> None:
        slot = self._pool.slots[gone.slot]
        self._watchdog.forget(gone.pid)
        self._report.worker_gone(gone)
        if gone.crashed:
            _log.error("worker %d (pid %d) died: %s", gone.slot, gone.pid, gone.death)
            if self._state == "starting":
                self._give_up_if_none_starts(gone)
        else:
            _log.debug("worker %d (pid %d) left: %s", gone.slot, gone.pid, gone.cause)
        if not gone.clean:
            self._maintenance.recover(gone)
        if self._state == "stopping":
            return
        if gone.crashed:
            self._pool.start_after_crash(slot)
        else:
            self._pool.start_soon(slot)

    def _give_up_if_none_starts(self, gone: WorkerExit) -> None:
        """Fail the start when workers die before they are ready, instead of trying for ever."""
        if gone.seen.state == WorkerState.STARTING and self._pool.reincarnations["crashed"] > len(
            self._pool.slots
        ):
            for slot in self._pool.alive():
                self._pool.signal(slot, signal.SIGKILL, "stop")
            msg = f"workers die before they are ready: {gone.death}; their log says why"
            raise StartFailed(msg)

    def _end(self) -> None:
        """Publish the end, and close all threads."""
        code = 0 if self._state == "stopping" else 1
        stop_guard.arm(_STOP_TIMEOUT)
        self._reload.cancel()
        self._pool.close()
        self._state = "stopped"
        status = self.status()
        for hook in self._runtime.all_hooks("qcore_cluster_stop"):
            hook(ClusterEvent(status=status, config=self._config))
        self._maintenance.publish(status)
        end = time.monotonic() + _CLOSE_TIMEOUT
        if self._firing is not None and not self._firing.close(_CLOSE_TIMEOUT):
            stop_guard.log_stack("schedules are still being fired", self._firing.thread)
        if not self._maintenance.close(max(0.0, end - time.monotonic())):
            text = "the broker does not answer; leased messages come back when their leases end"
            stop_guard.log_stack(text, self._maintenance.thread)
        self._selector.close()
        _log.info("cluster %s has stopped, %s finished", self._config.name, counted(status.finished, "task"))
        # What is left is the end of the interpreter, which waits for threads that plugins have started.
        stop_guard.arm(_EXIT_TIMEOUT, code)
