"""Starts, signals and replaces workers through the zygote."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qcore.errors import StartFailed
from qcore.supervision.forked import Forked
from qcore.supervision.slot import Slot, WorkerExit
from qcore.supervision.zygote import Boot, Notice, Order, decode_notice, die_with_parent, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.journal.pages import Journal


_log = logging.getLogger("qcore.pool")

#: Most bytes of one notice.
_MESSAGE: Final = 1 << 20
#: A worker that dies within this many seconds of its start, with no task finished, never worked.
_EARLY: Final = 1.0
#: After this many early deaths within `_STORM_SECONDS` new workers wait, 1 to 60 seconds.
_STORM: Final = 10
_STORM_SECONDS: Final = 60.0
#: How many zygotes in a row may die before they are ready until the cluster gives up.
_MOST_FAILED: Final = 5
#: Seconds that workers are given to die with their zygote.
_DEATH_TIMEOUT: Final = 1.0


class Pool:
    """The workers of one cluster."""

    def __init__(
        self,
        boot: Boot,
        journal: Journal,
        cpu_affinity: int,
        become_zygote: Callable[[socket.socket], None] | None = None,
    ) -> None:
        self._boot = boot
        #: what the first zygote runs, forked from this process; later ones are started as programs
        self._become_zygote = become_zygote
        self._journal = journal
        cpus = affinity(_usable_cpus() if cpu_affinity else (), boot.slots, cpu_affinity)
        self.slots = [Slot(number, journal.page(number), cpus[number]) for number in range(boot.slots)]
        #: workers replaced, by cause
        self.reincarnations: Counter[str] = Counter()
        self._early: deque[float] = deque(maxlen=_STORM)
        #: how often new workers had to wait in a row
        self._storms = 0
        self.ready = False
        #: no worker is started any more, and one that comes up late is stopped
        self.stopping = False
        #: whether a zygote was ever ready, and how many in a row died before they were
        self._served = False
        self._failed_zygotes = 0
        #: the schedules that the user's modules declare, complete once the zygote is ready
        self.declared = b""
        self._zygote: subprocess.Popen[bytes] | Forked
        self.channel: socket.socket
        self.start_zygote()

    # -- the zygote -----------------------------------------------------------------------------

    def start_zygote(self) -> None:
        """Start the process that forks workers."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._boot.parent = os.getpid()
        self.ready = False
        self.declared = b""
        become, self._become_zygote = self._become_zygote, None
        # Only one thread has run yet, so this process can fork: the zygote and its workers share what
        # is imported here and start at once. Later there are threads, and no fork.
        if become is not None and threading.active_count() == 1:
            self._zygote = Forked.run(lambda: _in_child(self._boot.parent, ours, theirs, become))
            theirs.close()
            self.channel = ours
            return
        source = str(Path(__file__).resolve().parents[2])
        program = (
            f"import sys; sys.path.append({source!r}); from qcore.supervision.zygote import main; "
            f"main({theirs.fileno()}, {self._journal.fd})"
        )
        self._zygote = subprocess.Popen(  # noqa: S603 - this interpreter and a program written here
            [sys.executable, "-c", program],
            pass_fds=(theirs.fileno(), self._journal.fd),
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        self.channel = ours
        try:
            ours.send(encode(self._boot))
        except BrokenPipeError:
            _log.debug("the new zygote has ended; that is noticed elsewhere")

    def _zygote_gone(self) -> list[WorkerExit]:
        """Handle the death of the zygote, with which the kernel has killed its workers."""
        status = self._zygote.wait()
        self.channel.close()
        self._failed_zygotes = 0 if self.ready else self._failed_zygotes + 1
        if self._failed_zygotes and (not self._served or self._failed_zygotes >= _MOST_FAILED):
            msg = f"the process that forks workers ended with status {status} before it was ready"
            raise StartFailed(msg)
        self.ready = False
        _await_end([slot.pid for slot in self.slots if slot.pid])
        _log.error("the process that forks workers died with status %s; a new one is started", status)
        gone = [
            self._worker_gone(slot, Notice("down", slot.number, slot.pid, -9))
            for slot in self.slots
            if slot.pid or slot.spawning
        ]
        if not self.stopping:
            self.start_zygote()
        return gone

    def receive(self) -> list[WorkerExit]:
        """Handle one notice; return the workers that have ended.

        Raises:
            StartFailed: a module to preload raised; the text is its traceback.

        """
        try:
            data = self.channel.recv(_MESSAGE)
        except ConnectionResetError:
            # The zygote died with something unread: its boot, or an order.
            data = b""
        if not data:
            return self._zygote_gone()
        notice = decode_notice(data)
        if notice.what == "failed":
            msg = f"the modules to preload could not be imported:\n{notice.text}"
            raise StartFailed(msg)
        if notice.what == "declared":
            self.declared += notice.body
            return []
        if notice.what == "ready":
            self.ready = self._served = True
            return []
        slot = self.slots[notice.slot]
        slot.spawning = False
        if notice.what == "up":
            slot.pid = notice.pid
            if self.stopping:
                self.signal(slot, signal.SIGTERM)
            return []
        if notice.text:
            _log.error("worker %d: %s", slot.number, notice.text)
        gone = self._worker_gone(slot, notice)
        # A worker that has finished a task did work, so others need not wait because of its death.
        if gone.crashed and gone.lifetime < _EARLY and not gone.seen.total:
            self._early.append(time.monotonic())
        return [gone]

    # -- workers --------------------------------------------------------------------------------

    def fill(self) -> None:
        """Start a worker in every slot that is due."""
        if not self.ready:
            return
        now = time.monotonic()
        for slot in self.slots:
            if slot.start_at is not None and slot.start_at <= now:
                slot.start_at = None
                slot.owner = os.urandom(8)
                slot.started = now
                slot.killed = ""
                slot.spawning = True
                self._order(Order(slot.number, 0, slot.owner, slot.cpus))

    def start_soon(self, slot: Slot) -> None:
        """Have a worker started in a slot at once."""
        slot.start_at = time.monotonic()

    def start_after_crash(self, slot: Slot) -> None:
        """Have a worker started in a slot, at once unless workers keep dying."""
        now = time.monotonic()
        wait = 0.0
        if len(self._early) == _STORM and now - self._early[0] < _STORM_SECONDS:
            wait = min(60.0, 2.0 ** min(self._storms, 6))
            self._storms += 1
        else:
            self._storms = 0
        slot.start_at = now + wait

    @property
    def problem(self) -> str:
        """A text if workers keep dying, empty if they do not."""
        now = time.monotonic()
        if not any(slot.start_at is not None and slot.start_at > now for slot in self.slots):
            return ""
        return f"{_STORM} workers died within {_EARLY:g} s of their start with no task done; new ones wait"

    def signal(self, slot: Slot, number: int, why: str = "") -> None:
        """Send a worker a signal; `why` records that the supervisor kills it."""
        if slot.pid:
            slot.killed = slot.killed or why
            self._order(Order(slot.number, number))

    def alive(self) -> list[Slot]:
        """Return the slots with a worker."""
        return [slot for slot in self.slots if slot.pid]

    def is_empty(self) -> bool:
        """Whether there is no worker, and none is being started."""
        return not any(slot.pid or slot.spawning for slot in self.slots)

    def close(self) -> None:
        """Let the zygote end, and kill it if it does not."""
        self.channel.close()
        try:
            self._zygote.wait(5)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            self._zygote.wait()

    def _order(self, order: Order) -> None:
        try:
            self.channel.send(encode(order))
        except (BrokenPipeError, ConnectionResetError):
            _log.debug("the zygote has ended; that is noticed elsewhere")

    def _worker_gone(self, slot: Slot, notice: Notice) -> WorkerExit:
        gone = WorkerExit(slot, notice)
        slot.pid = 0
        slot.spawning = False
        slot.soft_timeout_for = slot.killed_for = slot.cancelled = (0, 0)
        slot.page.reset()
        self.reincarnations[gone.cause] += 1
        return gone


def _in_child(
    parent: int, ours: socket.socket, theirs: socket.socket, become: Callable[[socket.socket], None]
) -> None:
    ours.close()
    die_with_parent(parent)
    become(theirs)


def affinity(cpus: Sequence[int], workers: int, each: int) -> list[list[int]]:
    """Return the processors of each worker: the next `each` of them, in a circle.

    If `each` is 0, or not less than the number of processors, each list is empty: no affinity is set.
    """
    if each <= 0 or each >= len(cpus):
        return [[] for _ in range(workers)]
    return [[cpus[(worker * each + step) % len(cpus)] for step in range(each)] for worker in range(workers)]


def _await_end(pids: Sequence[int]) -> None:
    """Wait until killed processes have ended that are not children of this process."""
    if not hasattr(os, "pidfd_open"):
        return
    end = time.monotonic() + _DEATH_TIMEOUT
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            select.select([fd], [], [], max(0.0, end - time.monotonic()))
        finally:
            os.close(fd)


def _usable_cpus() -> list[int]:
    import psutil  # noqa: PLC0415 - 14 ms of every start; only affinity needs it here

    process = psutil.Process()
    if not hasattr(process, "cpu_affinity"):
        return []
    return sorted(process.cpu_affinity())
