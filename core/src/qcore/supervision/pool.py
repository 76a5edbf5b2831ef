"""Start, signal and replace workers through the zygote."""

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
#: A worker that dies within this many seconds of its start, with no task done, did not get to work.
_EARLY: Final = 1.0
#: So many early deaths within `_STORM_SECONDS` and new workers wait, 1 to 60 seconds.
_STORM: Final = 10
_STORM_SECONDS: Final = 60.0
#: So many new zygotes in a row may die before they are ready; then the cluster gives up.
_STILLBORN: Final = 5
#: Seconds a worker whose zygote was killed is given to die with it.
_LAST_BREATH: Final = 1.0


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
        #: what the first zygote runs, forked from this process; later ones are processes of their own
        self._become_zygote = become_zygote
        self._journal = journal
        places = affinity(_usable_cpus() if cpu_affinity else (), boot.slots, cpu_affinity)
        self.slots = [Slot(number, journal.page(number), places[number]) for number in range(boot.slots)]
        #: workers replaced, by cause
        self.reincarnations: Counter[str] = Counter()
        self._early: deque[float] = deque(maxlen=_STORM)
        #: how often new workers had to wait in a row
        self._storms = 0
        self.ready = False
        #: no worker is to be started any more, and one that comes up late is to leave
        self.stopping = False
        #: whether a zygote was ever ready, and how many in a row were not
        self._served = False
        self._stillborn = 0
        #: what the user's modules declare, whole once the zygote is ready
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
        # Nothing but the one thread has run yet: what is imported here is shared with the zygote
        # and its workers, and it is there at once. Later there are threads, and no fork.
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
        self._zygote = subprocess.Popen(  # noqa: S603 - our own interpreter and our own text
            [sys.executable, "-c", program],
            pass_fds=(theirs.fileno(), self._journal.fd),
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        self.channel = ours
        try:
            ours.send(encode(self._boot))
        except BrokenPipeError:
            _log.debug("the new zygote is gone; its end is noticed by itself")

    def _zygote_gone(self) -> list[WorkerExit]:
        """Take note that the zygote died: the kernel has killed its workers with it."""
        status = self._zygote.wait()
        self.channel.close()
        self._stillborn = 0 if self.ready else self._stillborn + 1
        if self._stillborn and (not self._served or self._stillborn >= _STILLBORN):
            msg = f"the process that forks workers ended with status {status} before it was ready"
            raise StartFailed(msg)
        self.ready = False
        _await_end([slot.pid for slot in self.slots if slot.pid])
        _log.error("the process that forks workers died with status %s; a new one is started", status)
        gone = [
            self._lose(slot, Notice("down", slot.number, slot.pid, -9))
            for slot in self.slots
            if slot.pid or slot.ordered
        ]
        if not self.stopping:
            self.start_zygote()
        return gone

    def receive(self) -> list[WorkerExit]:
        """Take in one notice; return the workers that are gone.

        Raises:
            StartFailed: a module to preload raised; the text is its traceback.

        """
        try:
            data = self.channel.recv(_MESSAGE)
        except ConnectionResetError:
            # It died with something unread: its boot, or an order.
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
        slot.ordered = False
        if notice.what == "up":
            slot.pid = notice.pid
            if self.stopping:
                self.signal(slot, signal.SIGTERM)
            return []
        if notice.text:
            _log.error("worker %d: %s", slot.number, notice.text)
        gone = self._lose(slot, notice)
        # One that has finished a task did get to work: whatever killed it will not kill all.
        if gone.crashed and gone.lived < _EARLY and not gone.seen.total:
            self._early.append(time.monotonic())
        return [gone]

    # -- workers --------------------------------------------------------------------------------

    def fill(self) -> None:
        """Start a worker in every slot whose time has come."""
        if not self.ready:
            return
        now = time.monotonic()
        for slot in self.slots:
            if slot.due is not None and slot.due <= now:
                slot.due = None
                slot.owner = os.urandom(8)
                slot.started = now
                slot.killed = ""
                slot.ordered = True
                self._order(Order(slot.number, 0, slot.owner, slot.cpus))

    def want(self, slot: Slot) -> None:
        """Have a worker started in a slot at once."""
        slot.due = time.monotonic()

    def want_after_crash(self, slot: Slot) -> None:
        """Have a worker started in a slot, at once unless workers keep dying."""
        now = time.monotonic()
        wait = 0.0
        if len(self._early) == _STORM and now - self._early[0] < _STORM_SECONDS:
            wait = min(60.0, 2.0 ** min(self._storms, 6))
            self._storms += 1
        else:
            self._storms = 0
        slot.due = now + wait

    @property
    def trouble(self) -> str:
        """Say that workers keep dying, empty if they do not."""
        now = time.monotonic()
        if not any(slot.due is not None and slot.due > now for slot in self.slots):
            return ""
        return f"{_STORM} workers died within {_EARLY:g} s of their start with no task done; new ones wait"

    def signal(self, slot: Slot, number: int, why: str = "") -> None:
        """Send a worker a signal; `why` marks it as killed by us."""
        if slot.pid:
            slot.killed = slot.killed or why
            self._order(Order(slot.number, number))

    def alive(self) -> list[Slot]:
        """Return the slots with a worker."""
        return [slot for slot in self.slots if slot.pid]

    def deserted(self) -> bool:
        """Whether there is no worker, and none on its way."""
        return not any(slot.pid or slot.ordered for slot in self.slots)

    def close(self) -> None:
        """Let the zygote go and kill what is left."""
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
            _log.debug("the zygote is gone; its end is noticed by itself")

    def _lose(self, slot: Slot, notice: Notice) -> WorkerExit:
        gone = WorkerExit(slot, notice)
        slot.pid = 0
        slot.ordered = False
        slot.warned = slot.killed_for = slot.cancelled = (0, 0)
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
    """Return the processors of each worker: the next `each`, round and round.

    With `each` 0, or at least as many as there are, workers are left alone: an empty list.
    """
    if each <= 0 or each >= len(cpus):
        return [[] for _ in range(workers)]
    return [[cpus[(worker * each + step) % len(cpus)] for step in range(each)] for worker in range(workers)]


def _await_end(pids: Sequence[int]) -> None:
    """Wait until processes that are no children of ours and were killed have ended."""
    if not hasattr(os, "pidfd_open"):
        return
    end = time.monotonic() + _LAST_BREATH
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
