"""What a supervisor reports about its cluster."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Final

from qcore.journal.records import WorkerState
from qcore.journal.running import Running
from qcore.messages.head import read_head
from qcore.status import ClusterStatus, Counts, WorkerStatus
from qcore_cells.cells import CellState
from qcore_counts.rates import Rates
from qcore_counts.tallies import TalliesSum
from qcore_process.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.runtime import Runtime
    from qcore.scheduling import Firing
    from qcore.supervision.maintenance import Maintenance
    from qcore.supervision.pool import Pool
    from qcore.supervision.slot import Slot, WorkerExit

#: Seconds a task runs before the status names it.
LONG: Final = 0.5
#: Seconds between two publications of a cluster that is now busy, now idle.
_TURN: Final = 0.2


class StatusReport:
    """Makes the status of a cluster from its workers' pages."""

    def __init__(self, runtime: Runtime, pool: Pool) -> None:
        self._config = runtime.config
        self._keys = tuple(key.hex() for key in runtime.envelope.key_ids)
        self._reporters = runtime.reporters
        self._pool = pool
        self._id = os.urandom(16).hex()
        self._began = time.monotonic()
        self._running = [Running(slot.page) for slot in pool.slots]
        self._rates = Rates([slot.page for slot in pool.slots])
        #: tasks finished by workers that have ended
        self._finished = 0
        #: runs that began, of workers that have ended; a count that shrinks passes for a restart
        self._started = self._most_started = 0
        self._tallies: TalliesSum | None = None
        self.memory = Memory()

    def worker_gone(self, gone: WorkerExit) -> None:
        """Add the finished tasks of a worker that has ended."""
        self._finished += gone.seen.total
        self._started += gone.seen.total + gone.running

    @property
    def pids(self) -> Sequence[int]:
        """The pids of the workers, 0 where a slot has none."""
        return [slot.pid for slot in self._pool.slots]

    def status(
        self,
        state: str,
        troubles: tuple[str, ...],
        maintenance: Maintenance,
        firing: Firing | None,
    ) -> ClusterStatus:
        """Return the status of the cluster now."""
        workers = tuple(self._worker(slot) for slot in self._pool.slots)
        finished = self._finished + sum(one.done for one in workers)
        rates = self._rates.now(finished)
        config, reporters = self._config, self._reporters
        counts = [slot.page.metrics.reports() for slot in self._pool.slots]
        found: ClusterStatus = self.memory.attach(
            ClusterStatus(
                id=self._id,
                name=config.name,
                label=config.label,
                host=socket.gethostname(),
                pid=os.getpid(),
                state=state,
                workers=workers,
                finished=finished,
                reincarnations=dict(self._pool.reincarnations),
                uptime=time.monotonic() - self._began,
                published=time.time(),
                rate=rates.rate,
                run_time=rates.run_time,
                wait_time=rates.wait_time,
                reports=reporters.made + sum(made for made, _ in counts),
                reports_lost=reporters.lost + sum(lost for _, lost in counts),
                paused=maintenance.control.paused,
                queues=None if config.queues is None else tuple(config.queues),
                max_rss=(config.max_rss or 0) * 1024,
                troubles=troubles,
                keys=self._keys,
                counts=self._counts(workers, maintenance, firing),
            )
        )
        return found

    def _counts(
        self, workers: Sequence[WorkerStatus], maintenance: Maintenance, firing: Firing | None
    ) -> Counts:
        pages = [slot.page for slot in self._pool.slots]
        if self._tallies is None:
            self._tallies = TalliesSum([*(page.tallies for page in pages), maintenance.tallies])
        began = self._started + sum(one.done + one.running for one in workers)
        # A worker that has just ended a task may be seen before it says so.
        self._most_started = max(self._most_started, began)
        run_times, wait_times = self._rates.since_start()
        return Counts(
            tasks=self._tallies.read(),
            started=self._most_started,
            run_times=run_times,
            wait_times=wait_times,
            redeliveries=sum(page.metrics.redeliveries for page in pages),
            renewals=maintenance.renewals,
            backend_errors=maintenance.backend_errors + sum(page.metrics.errors for page in pages),
            fired=firing.fired if firing else 0,
            fired_late=firing.fired_late if firing else 0,
        )

    def _worker(self, slot: Slot) -> WorkerStatus:
        seen = slot.page.snapshot()
        state = WorkerState(seen.state).name.lower() if slot.pid else "stopped"
        running = 0.0
        held = progress = None
        if slot.pid and seen.running >= 0:
            running = max(0.0, (time.monotonic_ns() - seen.started) / 1e9)
            held = self._running[slot.number].message(seen, LONG)
            progress = slot.page.metrics.progress(seen.seq, seen.begun)
        count = int(slot.pid != 0 and seen.running >= 0)
        cells = (
            [one for one in slot.page.cells.in_use() if one.state == CellState.RUNNING] if slot.pid else []
        )
        if cells:
            oldest, count = min(cells, key=lambda one: one.started), len(cells)
            running = max(0.0, (time.monotonic_ns() - oldest.started) / 1e9)
            held = slot.page.cells.message(oldest) if running > LONG else None
            progress = slot.page.cells.progress(oldest.at)
        return WorkerStatus(
            slot=slot.number,
            pid=slot.pid,
            state=state,
            task=read_head(held.head).name if held else "",
            running_for=running,
            running=count,
            done=seen.total,
            task_id=held.id.hex() if held else "",
            progress=progress,
        )


def publish_every(state: str, before: str, guard_cycle: float) -> float:
    """Return the seconds between two publications: an idle cluster does not keep a disk busy."""
    if state != before:
        # Short tasks make a cluster busy and idle many times a second.
        return min(_TURN, guard_cycle) if {state, before} == {"idle", "working"} else 0.0
    return max(5.0, guard_cycle) if state == "idle" else guard_cycle
