"""Starts, signals and replaces workers through the zygote."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from qcore.begun import CLUSTER
from qcore.errors import StartFailed
from qcore.supervision.protocol import Boot, Notice, Order
from qcore.supervision.slot import Slot, WorkerExit
from qcore.supervision.zygote_link import ZygoteLink
from qcore_process.cpus import affinity, usable
from qcore_process.pidfds import await_end
from qcore_process.process_group import kill_group

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.journal.memory import Journal

_log = logging.getLogger("qcore.pool")

#: A worker that dies within this many seconds of its start, with no task finished, never worked.
_EARLY: Final = 1.0
#: After this many early deaths within `_STORM_SECONDS` new workers wait, 1 to 60 seconds.
_STORM: Final = 10
_STORM_SECONDS: Final = 60.0
#: How many zygotes in a row may die before they are ready until the cluster gives up.
_MOST_FAILED: Final = 5
#: Seconds in which a zygote must fork a worker or report the end of one, while the cluster runs and
#: while it stops.
_ANSWER_TIMEOUT: Final = 10.0
_ANSWER_TIMEOUT_STOPPING: Final = 3.0
#: Seconds after which a missing answer is a trouble of the cluster's status.
_SLOW_ANSWER: Final = 2.0
#: Seconds between two looks at what the zygote owes. If far more than that have passed, this process
#: stood still, and the zygote may have done so too.
_CHECK: Final = 0.5
_STOOD_STILL: Final = 3.0
#: Seconds that a worker has to become ready before that is a trouble.
_START_TIMEOUT: Final = 30.0
#: Seconds that killed workers are given to end.
_DEATH_TIMEOUT: Final = 1.0


class Pool:
    """The workers of one cluster."""

    def __init__(self, boot: Boot, journal: Journal, cpu_affinity: int, first: ZygoteLink) -> None:
        self._boot = boot
        #: by what the owners of its workers end, see `qcore.begun`
        self._cluster = os.urandom(CLUSTER)
        #: what workers have started ends with them
        self._end_children = bool(boot.config.get("daemonize_workers", True))
        self._journal = journal
        #: the zygote in service, and those before it whose workers still run
        self.zygote = first
        self.retired: list[ZygoteLink] = []
        cpus = affinity(usable() if cpu_affinity else (), boot.slots, cpu_affinity)
        self.slots = [Slot(number, journal.page(number), cpus[number]) for number in range(boot.slots)]
        #: workers replaced, by cause
        self.reincarnations: Counter[str] = Counter()
        self._early: deque[float] = deque(maxlen=_STORM)
        #: how often new workers had to wait in a row
        self._storms = 0
        #: no worker is started any more, and one that comes up late is stopped
        self.stopping = False
        #: called with the file that came with the word of a zygote that it is ready, or -1
        self.on_ready: Callable[[int], None] = lambda _: None
        #: whether a zygote was ever ready, and how many in a row ended before they were of use
        self._served = False
        self._failed_zygotes = 0
        #: monotonic seconds of the last look at what the zygote owes
        self._checked = time.monotonic()

    # -- the zygote -----------------------------------------------------------------------------

    def receive(self, zygote: ZygoteLink) -> list[WorkerExit]:
        """Handle one notice of a zygote; return the workers that have ended.

        Raises:
            StartFailed: a module to preload raised; the text is its traceback.

        """
        notice, pidfd = zygote.receive()
        if notice is None:
            return self._zygote_gone(zygote)
        if notice.what == "failed":
            msg = f"the modules to preload could not be imported:\n{notice.text}"
            raise StartFailed(msg)
        if notice.what == "ready":
            self._served = True
            self.on_ready(pidfd)
        if notice.what not in {"up", "down"}:
            return []
        slot = self.slots[notice.slot]
        slot.spawning = False
        if notice.what == "up":
            slot.pid, slot.pidfd = notice.pid, pidfd
            if self.stopping or zygote is not self.zygote:
                self.signal(slot, signal.SIGTERM)
            return []
        if notice.text:
            _log.error("worker %d: %s", slot.number, notice.text)
        gone = self._worker_gone(slot, notice)
        # A worker that has finished a task did work, so others need not wait because of its death.
        if gone.crashed and gone.lifetime < _EARLY and not gone.seen.total:
            self._early.append(time.monotonic())
        return [gone]

    def check(self) -> list[WorkerExit]:
        """Replace a zygote that does not answer; return the workers that have ended with it.

        Raises:
            StartFailed: no zygote answers, however often it is replaced.

        """
        now = time.monotonic()
        passed = now - self._checked
        if passed < _CHECK:
            return []
        self._checked = now
        if passed > _STOOD_STILL:
            self.zygote.forgive()
            for slot in self.slots:
                slot.ended_at = None
                if slot.spawning:
                    slot.started = now
        self.zygote.log_delay()
        seconds = _ANSWER_TIMEOUT_STOPPING if self.stopping else _ANSWER_TIMEOUT
        gone = []
        for zygote in (self.zygote, *self.retired):
            if owed := self._owed(now, seconds, zygote):
                gone += self.replace_zygote(owed, zygote)
        return gone

    def start_zygote(self) -> ZygoteLink:
        """Start a further process that imports the user's modules, to fork workers."""
        self._boot.parent = os.getpid()
        return ZygoteLink.start(self._boot, self._journal)

    def hand_over(self, zygote: ZygoteLink) -> None:
        """Have new workers forked by another zygote; those that there are finish what they run."""
        self.retired.append(self.zygote)
        self.zygote = zygote
        for slot in self.alive():
            self.signal(slot, signal.SIGTERM)

    def release_retired(self) -> None:
        """End the zygotes before the one in service whose workers have ended."""
        for zygote in [one for one in self.retired if not self._of(one)]:
            self.retired.remove(zygote)
            zygote.close()

    def _of(self, zygote: ZygoteLink) -> list[Slot]:
        """Return the slots whose workers a zygote has forked, or is to fork."""
        return [one for one in self.slots if one.forked_by == zygote.pid and (one.pid or one.spawning)]

    def replace_zygote(self, why: str, zygote: ZygoteLink) -> list[WorkerExit]:
        """Kill a zygote that hangs; return the workers that end with it."""
        is_needed = zygote is self.zygote and not self.stopping
        end = "it is killed and a new one is started" if is_needed else "it is killed"
        _log.error("the process that forks workers (pid %d) does not answer: %s; %s", zygote.pid, why, end)
        for slot in self._of(zygote):
            if slot.pid and slot.ended_at is None:
                # Its task is not to blame.
                slot.killed = slot.killed or "stop"
        zygote.kill()
        return self._zygote_gone(zygote, hung=True)

    def _owed(self, now: float, seconds: float, zygote: ZygoteLink) -> str:
        """Return what a zygote should have done `seconds` seconds ago, empty if nothing."""
        for slot in self._of(zygote):
            if slot.spawning and now - slot.started > seconds:
                return f"it was to fork worker {slot.number} {now - slot.started:.0f} s ago"
            if not slot.has_ended():
                continue
            slot.ended_at = slot.ended_at or now
            if now - slot.ended_at > seconds:
                return f"worker {slot.number} (pid {slot.pid}) ended {now - slot.ended_at:.0f} s ago"
        return ""

    def _zygote_gone(self, zygote: ZygoteLink, *, hung: bool = False) -> list[WorkerExit]:
        """Handle the death of a zygote, with which the kernel has killed its workers."""
        status = zygote.wait()
        zygote.channel.close()
        if zygote is not self.zygote:
            return self._gone_with(zygote)
        if zygote.served or (zygote.ready and not hung):
            self._failed_zygotes = 0
        else:
            self._failed_zygotes += 1
        if (
            not self.stopping
            and self._failed_zygotes
            and (not self._served or self._failed_zygotes >= _MOST_FAILED)
        ):
            msg = f"the process that forks workers ended with status {status} before it was ready"
            raise StartFailed(msg)
        if not hung and not self.stopping:
            _log.error("the process that forks workers died with status %s; a new one is started", status)
        gone = self._gone_with(zygote)
        if not self.stopping:
            self.zygote = self.start_zygote()
        return gone

    def _gone_with(self, zygote: ZygoteLink) -> list[WorkerExit]:
        """Return the workers that end with a zygote: kill what the kernel has not killed, and wait for it."""
        alive = [slot for slot in self._of(zygote) if slot.pid]
        for slot in alive:
            slot.send(signal.SIGKILL)
        await_end([slot.pidfd for slot in alive if slot.pidfd >= 0], _DEATH_TIMEOUT)
        if self._end_children:
            for slot in alive:
                kill_group(slot.pid)
        return [
            self._worker_gone(slot, Notice("down", slot.number, slot.pid, -signal.SIGKILL))
            for slot in self._of(zygote)
        ]

    # -- workers --------------------------------------------------------------------------------

    def fill(self) -> None:
        """Start a worker in every slot that is due."""
        self.zygote.flush()
        if not self.zygote.ready:
            return
        now = time.monotonic()
        for slot in self.slots:
            if slot.start_at is not None and slot.start_at <= now:
                slot.start_at = None
                # Brokers tell owners apart by the first bytes.
                slot.owner = os.urandom(8) + self._cluster
                slot.forked_by = self.zygote.pid
                slot.started = now
                slot.killed = ""
                slot.spawning = True
                self.zygote.order(Order(slot.number, 0, slot.owner, slot.cpus))

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
        """What keeps workers from working, empty if nothing does."""
        now = time.monotonic()
        found = [self.zygote.delay]
        if any(slot.start_at is not None and slot.start_at > now for slot in self.slots):
            found.append(
                f"{_STORM} workers died within {_EARLY:g} s of their start with no task done; new ones wait"
            )
        starting = [slot.number for slot in self.alive() if slot.is_starting(now - _START_TIMEOUT)]
        if starting:
            which = ", ".join(map(str, starting))
            found.append(f"not ready {_START_TIMEOUT:g} seconds after their start: workers {which}")
        if owed := self._owed(now, _SLOW_ANSWER, self.zygote):
            found.append(f"the process that forks workers (pid {self.zygote.pid}) does not answer: {owed}")
        return "; ".join(filter(None, found))

    def signal(self, slot: Slot, number: int, why: str = "") -> None:
        """Send a worker a signal; `why` records that the supervisor kills it."""
        if slot.pid:
            slot.killed = slot.killed or why
            if not slot.send(number):
                forked_by = [one for one in self.retired if one.pid == slot.forked_by]
                (*forked_by, self.zygote)[0].order(Order(slot.number, number))

    def alive(self) -> list[Slot]:
        """Return the slots with a worker."""
        return [slot for slot in self.slots if slot.pid]

    def is_empty(self) -> bool:
        """Whether there is no worker, and none is being started."""
        return not any(slot.pid or slot.spawning for slot in self.slots)

    def close(self) -> None:
        """End the zygotes, and with them whatever workers are left."""
        for zygote in (self.zygote, *self.retired):
            zygote.close()

    def _worker_gone(self, slot: Slot, notice: Notice) -> WorkerExit:
        gone = WorkerExit(slot, notice)
        slot.clear()
        slot.page.reset()
        self.reincarnations[gone.cause] += 1
        return gone
