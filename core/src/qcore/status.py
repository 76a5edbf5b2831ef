"""What a cluster tells of itself."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - read at run time, when a status is decoded

import attrs


@attrs.frozen(kw_only=True)
class Progress:
    """How far a running task says it has come."""

    done: float
    #: 0 = it does not say
    total: float = 0.0
    #: at most 120 characters
    note: str = ""


@attrs.frozen(kw_only=True)
class Percentiles:
    """How long things took: seconds that half, and 99 of 100, stayed below."""

    p50: float
    p99: float


@attrs.frozen(kw_only=True)
class WorkerStatus:
    """One worker process."""

    slot: int
    pid: int
    #: `starting`, `idle`, `busy` or `stopped`
    state: str
    #: name of the task that runs
    task: str = ""
    #: seconds it has been running
    running_for: float = 0.0
    #: tasks finished by this process
    done: int = 0
    #: id of the task that runs, once it has been running for half a second
    task_id: str = ""
    progress: Progress | None = None
    #: resident and proportional memory, and the most it ever had, bytes; 0 = not known
    rss: int = 0
    pss: int = 0
    peak: int = 0


@attrs.frozen(kw_only=True)
class ClusterStatus:
    """One cluster, as its supervisor sees it."""

    #: random, new at each start
    id: str
    #: the queue it works on
    name: str
    label: str
    host: str
    pid: int
    #: `starting`, `idle`, `working`, `stopping` or `stopped`
    state: str
    workers: tuple[WorkerStatus, ...] = ()
    #: tasks finished since the start, by how they ended
    finished: int = 0
    #: workers replaced since the start, by cause: recycled, memory, timeout, crashed, cancelled
    reincarnations: Mapping[str, int] = attrs.field(factory=dict)
    #: seconds since the start
    uptime: float = 0.0
    #: epoch seconds when this was written
    published: float = 0.0
    #: tasks finished a second, over the last minute
    rate: float = 0.0
    #: seconds tasks ran, and waited from their enqueuing, over the last minute; waits of tasks
    #: enqueued with a delay, and of those tried before, are not among them
    run_time: Percentiles | None = None
    wait_time: Percentiles | None = None
    #: it takes no new tasks because the queue is paused
    paused: bool = False
    #: of the supervisor, bytes; 0 = not known
    rss: int = 0
    pss: int = 0
    #: memory at which a worker is replaced, bytes; 0 = no limit
    max_rss: int = 0
    #: memory of the machine, bytes
    memory_total: int = 0
    memory_available: int = 0
    #: messages that say what is wrong at the moment, empty when all is well
    troubles: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class TaskStatus:
    """How far one task has come; see `App.status`."""

    id: str
    #: `queued`, `running`, `retrying`, `succeeded`, `failed`, `cancelled` or `unknown`
    state: str
    #: epoch seconds since when; 0.0 = not known
    since: float = 0.0
    #: `host:pid` of the worker that runs it or ran it last
    worker: str = ""
    #: id of the cluster that runs it
    cluster: str = ""
    progress: Progress | None = None
