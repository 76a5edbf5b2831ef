"""The supervisor's loop: deadlines, deaths, signals, status; never the broker."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import StartFailed
from qcore.hookspecs import ClusterEvent
from qcore.journal.pages import Journal
from qcore.journal.records import WorkerState
from qcore.schedules.scheduler_thread import SchedulerThread
from qcore.supervision import zygote
from qcore.supervision.deadlines import Watchdog
from qcore.supervision.maintenance import Maintenance
from qcore.supervision.pool import Pool
from qcore.supervision.status_report import LONG, StatusReport

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from qcore.runtime import Runtime
    from qcore.status import ClusterStatus
    from qcore.supervision.slot import WorkerExit
    from qcore.supervision.zygote import Boot

_log = logging.getLogger("qcore.cluster")

#: Seconds between looks at the journal while a worker is busy, and while none is: how late a
#: deadline is noticed, and how late a task that runs longer than that is.
_TICK_BUSY: Final = 0.02
_TICK_IDLE: Final = 0.1
#: Seconds between two published statuses while a task runs for long.
_PUBLISH: Final = 1.0
#: Seconds the caretaker is given at the end to write what is left.
_LAST_WORDS: Final = 5.0


class Supervisor:
    """Watches over one pool from start to stop."""

    def __init__(self, runtime: Runtime, boot: Boot) -> None:
        self._runtime = runtime
        self._boot = boot
        self._config = runtime.config
        self._state = "starting"
        #: how many signals to stop have come
        self._told = 0
        self._kill_at: float | None = None
        self._published = ("", 0.0)
        self._on_ready: Callable[[], None] = lambda: None
        self._selector = selectors.DefaultSelector()
        #: whether a worker has something to do, and whether one has had the same for long
        self._busy = self._long = False
        self._pool: Pool
        self._overview: StatusReport
        self._caretaker: Maintenance
        self._guard: Watchdog
        self._timekeeper: SchedulerThread | None = None

    # -- from start to stop ---------------------------------------------------------------------

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Run the cluster until it is told to stop; `on_ready` is called once the workers wait for tasks.

        Raises:
            StartFailed: no worker could be started; nothing is left running.

        """
        self._on_ready = on_ready
        journal = Journal.create(self._boot.slots)
        # Until there is something to stop, a signal may end us as it ends any program.
        self._pool = Pool(
            self._boot,
            journal,
            self._config.cpu_affinity,
            lambda channel: self._become_zygote(channel, journal),
        )
        self._selector.register(self._pool.channel, selectors.EVENT_READ, self._notice)
        self._overview = StatusReport(self._config, self._pool)
        self._caretaker = Maintenance(self._runtime, self._pool.slots, self._overview.memory)
        self._guard = Watchdog(self._pool, self._caretaker)
        with self._signals():
            for slot in self._pool.slots:
                self._pool.want(slot)
            try:
                while self._state != "stopping" or not self._pool.deserted():
                    self._turn()
            finally:
                self._pool.close()
                self._end()
        journal.close()

    def _become_zygote(self, channel: socket.socket, journal: Journal) -> None:
        """Be the forked zygote: let go of what is the supervisor's alone."""
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        self._selector.close()
        runtime = self._runtime
        zygote.serve(channel, journal, self._boot, runtime.config, runtime.plugins)

    def stop(self, timeout: float | None = None) -> None:
        """Stop: running tasks are let finish for `timeout` seconds, of several calls the shortest."""
        patience = self._config.shutdown_timeout if timeout is None else timeout
        kill_at = time.monotonic() + patience
        if self._state == "stopping":
            self._kill_at = min(self._kill_at or kill_at, kill_at)
            return
        _log.info("cluster %s stops; running tasks are given %g seconds", self._config.name, patience)
        self._kill_at = kill_at
        self._state = "stopping"
        self._pool.stopping = True
        if self._timekeeper is not None:
            self._timekeeper.halt()
        for slot in self._pool.slots:
            slot.due = None
        for slot in self._pool.alive():
            self._pool.signal(slot, signal.SIGTERM)

    def watch(self, fd: socket.socket | int, then: Callable[[], None]) -> None:
        """Call `then` whenever `fd` can be read."""
        self._selector.register(fd, selectors.EVENT_READ, then)

    def unwatch(self, fd: socket.socket | int) -> None:
        """Forget `fd`."""
        self._selector.unregister(fd)

    def status(self) -> ClusterStatus:
        """Return what is seen of the cluster now."""
        care = self._caretaker
        late = self._timekeeper.trouble if self._timekeeper else ""
        return self._overview.status(
            self._shown(),
            paused=care.lookout.paused,
            troubles=tuple(filter(None, (care.trouble, self._pool.trouble, late))),
        )

    def _shown(self) -> str:
        if self._state == "running":
            return "working" if self._busy else "idle"
        return self._state

    # -- the loop -------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._pool.fill()
        busy = self._state == "starting"
        now = time.monotonic_ns()
        self._guard.cancel_requested()
        self._busy = self._long = False
        for slot in self._pool.alive():
            seen = slot.page.snapshot()
            self._busy = self._busy or seen.state == WorkerState.BUSY
            if seen.running >= 0:
                busy = True
                self._long = self._long or now - seen.started > LONG * 1e9
                self._guard.check(slot, seen, now)
        if self._state == "starting":
            self._look_whether_ready()
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill_at = None
            for slot in self._pool.alive():
                self._pool.signal(slot, signal.SIGKILL, "stop")
        self._housekeeping()
        tick = min(self._config.guard_cycle, _TICK_BUSY if busy else _TICK_IDLE)
        for key, _ in self._selector.select(tick):
            key.data()

    def _look_whether_ready(self) -> None:
        pages = [slot.page.snapshot() for slot in self._pool.slots if slot.pid]
        if len(pages) == len(self._pool.slots) and all(page.state != WorkerState.STARTING for page in pages):
            self._state = "running"
            if self._config.scheduler:
                self._timekeeper = SchedulerThread(self._runtime, self._pool.declared)
            _log.info(
                "cluster %s is ready: %d workers, supervisor %d", self._config.name, len(pages), os.getpid()
            )
            for hook in self._runtime.hooks("qcore_cluster_start"):
                hook(ClusterEvent(status=self.status()))
            self._on_ready()

    def _housekeeping(self) -> None:
        now = time.monotonic()
        state, last = self._published
        shown = self._shown()
        every = _publish_every(shown, self._config.guard_cycle)
        if self._long:
            every = min(every, _PUBLISH)
        if shown == state and now - last < every:
            return
        self._published = (shown, now)
        status = self.status()
        self._caretaker.publish(status)
        self._caretaker.prune(status.finished)

    def _notice(self) -> None:
        channel = self._pool.channel
        gone = self._pool.receive()
        if self._pool.channel is not channel:
            self._selector.unregister(channel)
            self._selector.register(self._pool.channel, selectors.EVENT_READ, self._notice)
        for one in gone:
            self._bury_worker(one)

    def _bury_worker(self, gone: WorkerExit) -> None:
        slot = self._pool.slots[gone.slot]
        self._guard.forget(gone.pid)
        self._overview.lose(gone)
        if gone.crashed:
            _log.error("worker %d (pid %d) is gone: %s", gone.slot, gone.pid, gone.death)
            if self._state == "starting":
                self._give_up_if_none_starts(gone)
        else:
            _log.debug("worker %d (pid %d) left: %s", gone.slot, gone.pid, gone.cause)
        if not gone.clean:
            self._caretaker.recover(gone)
        if self._state == "stopping":
            return
        if gone.crashed:
            self._pool.want_after_crash(slot)
        else:
            self._pool.want(slot)

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
        """Write what is left to write, and say goodbye."""
        self._state = "stopped"
        status = self.status()
        for hook in self._runtime.hooks("qcore_cluster_stop"):
            hook(ClusterEvent(status=status))
        if self._timekeeper is not None:
            self._timekeeper.close(_LAST_WORDS)
        self._caretaker.publish(status)
        self._caretaker.prune(status.finished)
        if not self._caretaker.close(_LAST_WORDS):
            _log.error("the broker does not answer; what was held comes back when its lease ends")
        self._selector.close()
        _log.info("cluster %s has stopped, %d tasks finished", self._config.name, status.finished)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Have SIGTERM and SIGINT end the wait and stop the cluster."""
        wake, tell = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(tell, False)
        before = {
            number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)
        }
        before_fd = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        self._selector.register(wake, selectors.EVENT_READ, lambda: os.read(wake, 4096))
        try:
            yield
        finally:
            signal.set_wakeup_fd(before_fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(wake)
            os.close(tell)

    def _on_signal(self, *_: object) -> None:
        # Counted apart from other ways to stop: an init system signals us and our program, which
        # then asks us as well, and neither of them is in a hurry.
        self._told += 1
        if self._told > 2:
            os._exit(130)
        self.stop(None if self._told == 1 else 0)


def _publish_every(state: str, guard_cycle: float) -> float:
    """Return seconds between two publications: an idle cluster does not keep a disk busy."""
    return max(5.0, guard_cycle) if state == "idle" else guard_cycle
