"""Defines the status that clusters and tasks report."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - read at run time, when a status is decoded
from itertools import zip_longest
from typing import Final

import attrs

from qcore_queues.names import DEFAULT_QUEUE


@attrs.frozen(kw_only=True)
class Progress:
    """The progress that a running task reported."""

    done: float
    #: 0 = not reported
    total: float = 0.0
    #: at most 120 characters
    note: str = ""


@attrs.frozen(kw_only=True)
class Percentiles:
    """Durations in seconds: half of all values are at most `p50`, 99 of 100 at most `p99`."""

    p50: float
    p99: float


#: Seconds that end the places of `TaskCounts.success_times` and its like: 2**20 nanoseconds, a bit more
#: than a millisecond, and its doubles up to an hour and a quarter. The last place is for what is longer.
TIME_BOUNDS: Final = tuple(2**power / 1e9 for power in range(20, 43))


@attrs.frozen(kw_only=True)
class TaskCounts:
    """How often the tasks of one name ended."""

    #: runs by how they ended, a value of `Kind`; a message that was not run counts, too
    runs: Mapping[str, int] = attrs.field(factory=dict)
    #: how many messages left the queue after that, and how often one went back, or became a dead letter
    left: int = 0
    retries: int = 0
    dead_letters: int = 0
    #: for which all runs lasted, those that did not succeed, and for which messages had waited
    seconds: float = 0.0
    failed_seconds: float = 0.0
    waited_seconds: float = 0.0
    #: how many runs that succeeded, runs that did not, and waits were shorter than each of `TIME_BOUNDS`
    #: and not shorter than the one before; empty = none. Waits are of tasks that were enqueued without a
    #: delay and run for the first time.
    success_times: tuple[int, ...] = ()
    failed_times: tuple[int, ...] = ()
    wait_times: tuple[int, ...] = ()
    #: the part of each queue, by its name; empty = all were of `default`
    queues: Mapping[str, TaskCounts] = attrs.field(factory=dict)

    @property
    def parts(self) -> Mapping[str, TaskCounts]:
        """The part of each queue, by its name."""
        return self.queues or {DEFAULT_QUEUE: self}

    def plus(self, other: TaskCounts) -> TaskCounts:
        """Return the sum of both."""
        kinds = {**self.runs, **other.runs}
        return TaskCounts(
            runs={kind: self.runs.get(kind, 0) + other.runs.get(kind, 0) for kind in kinds},
            left=self.left + other.left,
            retries=self.retries + other.retries,
            dead_letters=self.dead_letters + other.dead_letters,
            seconds=self.seconds + other.seconds,
            failed_seconds=self.failed_seconds + other.failed_seconds,
            waited_seconds=self.waited_seconds + other.waited_seconds,
            success_times=_added(self.success_times, other.success_times),
            failed_times=_added(self.failed_times, other.failed_times),
            wait_times=_added(self.wait_times, other.wait_times),
            queues=_together(self.parts, other.parts) if self.queues or other.queues else {},
        )


def _together(one: Mapping[str, TaskCounts], other: Mapping[str, TaskCounts]) -> Mapping[str, TaskCounts]:
    both = {queue: counts.plus(other[queue]) for queue, counts in one.items() if queue in other}
    return {**one, **other, **both}


def _added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0))


@attrs.frozen(kw_only=True)
class Durations:
    """How many durations were at most how long."""

    #: seconds, growing: the longest that is counted in each place, and how many are
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    #: seconds of all together, to a fifth
    total: float = 0.0


@attrs.frozen(kw_only=True)
class Counts:
    """What a cluster has counted since its start, for dashboards."""

    #: by name of the task, for at most 64 names; the others are counted together as `(other)`
    tasks: Mapping[str, TaskCounts] = attrs.field(factory=dict)
    #: runs that began
    started: int = 0
    run_times: Durations = Durations()
    #: of tasks that were enqueued without a delay and run for the first time
    wait_times: Durations = Durations()
    #: messages that were leased again, after a lease that ended without an end of the task
    redeliveries: int = 0
    #: leases that were extended
    renewals: int = 0
    #: calls that a broker or a store did not answer, or rejected
    backend_errors: int = 0
    #: schedules that were fired, and those of them that were late by more than ten seconds
    fired: int = 0
    fired_late: int = 0


@attrs.frozen(kw_only=True)
class WorkerStatus:
    """One worker process."""

    slot: int
    pid: int
    #: `starting`, `idle`, `busy` or `stopped`
    state: str
    #: name of the running task; of several, of that which has been running for longest
    task: str = ""
    #: seconds it has been running
    running_for: float = 0.0
    #: tasks that run now
    running: int = 0
    #: tasks finished by this process
    done: int = 0
    #: id of the running task, once it has been running for half a second
    task_id: str = ""
    progress: Progress | None = None
    #: bytes of resident memory, proportional memory and peak resident memory; 0 = not known
    rss: int = 0
    pss: int = 0
    peak: int = 0


@attrs.frozen(kw_only=True)
class ClusterStatus:
    """One cluster, as its supervisor sees it."""

    #: random, different after each start
    id: str
    #: `name` of its configuration
    name: str
    label: str
    host: str
    pid: int
    #: `starting`, `idle`, `working`, `stopping` or `stopped`
    state: str
    workers: tuple[WorkerStatus, ...] = ()
    #: tasks finished since the start
    finished: int = 0
    #: workers replaced since the start, by cause: recycled, memory, timeout, crashed, cancelled,
    #: frozen
    reincarnations: Mapping[str, int] = attrs.field(factory=dict)
    #: seconds since the start
    uptime: float = 0.0
    #: epoch seconds at which this status was published
    published: float = 0.0
    #: tasks finished a second, over the last minute
    rate: float = 0.0
    #: how long tasks ran, and waited since they were enqueued, over the last minute; tasks that were
    #: enqueued with a delay or ran before do not count for the wait
    run_time: Percentiles | None = None
    wait_time: Percentiles | None = None
    #: error reports since the start that were made, and that were lost, because a reporter failed or
    #: could not keep up
    reports: int = 0
    reports_lost: int = 0
    #: the queue is paused, so the cluster starts no new tasks
    paused: bool = False
    #: the queues whose tasks it runs; None = all
    queues: tuple[str, ...] | None = None
    #: bytes of the supervisor's memory; 0 = not known
    rss: int = 0
    pss: int = 0
    #: bytes of memory from which a worker is replaced; 0 = no limit
    max_rss: int = 0
    #: bytes of the machine's memory
    memory_total: int = 0
    memory_available: int = 0
    #: current problems, one sentence each; empty if there are none
    troubles: tuple[str, ...] = ()
    counts: Counts = Counts()
    #: ids of the keys whose messages it accepts
    keys: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class TaskStatus:
    """The state of one task; see `App.status`."""

    id: str
    #: `queued`, `running`, `begun`, `retrying`, `succeeded`, `failed`, `cancelled`, `interrupted` or
    #: `unknown`
    state: str
    #: epoch seconds at which this state began; 0.0 = not known
    since: float = 0.0
    #: `host:pid` of the worker that runs the task or ran it last
    worker: str = ""
    #: id of the cluster that runs the task
    cluster: str = ""
    #: what its last run reported last; all of it for one that has succeeded, so a bar comes to its end
    progress: Progress | None = None
