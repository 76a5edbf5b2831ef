"""Decides which metrics there are, with their names and labels."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from itertools import accumulate, zip_longest
from typing import TYPE_CHECKING, Final, Literal

import attrs

from qcore.status import TIME_BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from qcore.status import ClusterStatus, Durations, TaskCounts
    from qcore_prometheus.queue_figures import QueueFigures

#: labels of everything that belongs to a cluster
_CLUSTER: Final = ("cluster", "label", "host")
#: Ends of the places of a histogram, seconds: powers of two from a millisecond to an hour. Each is the
#: end of a place of the journal, so nothing has to be split.
BOUNDS: Final = TIME_BOUNDS


@attrs.frozen
class Family:
    """A metric with all its samples."""

    name: str
    text: str
    #: names of the labels
    labels: tuple[str, ...]
    kind: Literal["gauge", "counter", "histogram"] = "gauge"
    #: Values of the labels, and the value. A histogram has one for each of `BOUNDS` and one for all, each
    #: with those before it, and then how many there are and their sum.
    samples: list[tuple[tuple[str, ...], tuple[float, ...]]] = attrs.field(factory=list)

    def add(self, labels: tuple[str, ...], *values: float) -> None:
        """Add a sample."""
        self.samples.append((labels, values))


#: name, help, and how it is read; counters get the ending `_total`
_COUNTERS: Final[tuple[tuple[str, str, Callable[[ClusterStatus], int]], ...]] = (
    ("qcore_tasks_started", "Runs of tasks that began.", lambda one: one.counts.started),
    (
        "qcore_messages_left",
        "Messages that left the queue; with the growth of qcore_queue_messages, what was enqueued.",
        lambda one: sum(task.left for task in one.counts.tasks.values()),
    ),
    ("qcore_redeliveries", "Messages that were delivered before.", lambda one: one.counts.redeliveries),
    ("qcore_lease_renewals", "Leases that were extended.", lambda one: one.counts.renewals),
    (
        "qcore_backend_errors",
        "Calls that a broker or a store did not answer, or rejected.",
        lambda one: one.counts.backend_errors,
    ),
    ("qcore_schedules_fired", "Schedules that were fired.", lambda one: one.counts.fired),
    (
        "qcore_schedules_fired_late",
        "Schedules that were fired more than ten seconds late.",
        lambda one: one.counts.fired_late,
    ),
    ("qcore_error_reports", "Error reports that were made.", lambda one: one.reports),
    ("qcore_error_reports_lost", "Error reports that were lost.", lambda one: one.reports_lost),
)
_GAUGES: Final[tuple[tuple[str, str, Callable[[ClusterStatus], float]], ...]] = (
    ("qcore_cluster_uptime_seconds", "Seconds since the cluster was started.", lambda one: one.uptime),
    (
        "qcore_cluster_status_age_seconds",
        "Seconds since these figures of the cluster were taken.",
        lambda one: max(0.0, time.time() - one.published),
    ),
    (
        "qcore_cluster_paused",
        "Whether all its queues are paused, as the cluster sees it.",
        lambda one: int(one.paused),
    ),
    ("qcore_cluster_troubles", "Current problems of the cluster.", lambda one: len(one.troubles)),
)


def families(name: str, clusters: Sequence[ClusterStatus], figures: QueueFigures) -> Iterator[Family]:
    """Yield every metric of clusters and of the queues of a name."""
    yield from _queues(name, figures)
    # Two clusters may have the same labels, and a name and its labels stand in a page once.
    by_labels: dict[tuple[str, ...], list[ClusterStatus]] = {}
    for one in clusters:
        by_labels.setdefault((one.name, one.label, one.host), []).append(one)
    yield from _simple(by_labels)
    yield from _workers(by_labels)
    yield from _tasks(by_labels)
    yield _histogram(
        "qcore_run_seconds",
        "How long runs of tasks took; the sum is right to a fifth.",
        {labels: [one.counts.run_times for one in some] for labels, some in by_labels.items()},
    )
    yield _histogram(
        "qcore_wait_seconds",
        "How long tasks waited that were enqueued without a delay; the sum is right to a fifth.",
        {labels: [one.counts.wait_times for one in some] for labels, some in by_labels.items()},
    )


def _queues(cluster: str, figures: QueueFigures) -> Iterator[Family]:
    of_queue = ("cluster", "queue")
    up = Family("qcore_queue_up", "Whether the backends of the queues answer.", ("cluster",))
    up.add((cluster,), int(figures.up))
    sizes = Family(
        "qcore_queue_messages",
        "Messages by queue and state, where the broker knows.",
        (*of_queue, "state"),
    )
    age = Family(
        "qcore_queue_oldest_seconds",
        "Seconds since the oldest ready message was enqueued; 0 if none is ready.",
        of_queue,
    )
    paused = Family("qcore_queue_paused", "Whether the queue is paused.", of_queue)
    for one in figures.queues:
        counts = {"ready": one.size.ready, "leased": one.size.leased, "delayed": one.size.delayed}
        for state, count in counts.items():
            if count is not None:
                sizes.add((cluster, one.name, state), count)
        if figures.knows_age:
            age.add((cluster, one.name), 0.0 if one.oldest is None else max(0.0, time.time() - one.oldest))
        paused.add((cluster, one.name), int(one.paused))
    dead = Family("qcore_dead_letters", "Dead letters, where the broker knows.", ("cluster",))
    if figures.dead_letters is not None:
        dead.add((cluster,), figures.dead_letters)
    overdue = Family(
        "qcore_schedules_overdue",
        "Schedules that should have fired more than ten seconds ago.",
        ("cluster",),
    )
    if figures.overdue is not None:
        overdue.add((cluster,), figures.overdue)
    # what is not known has no sample: a zero would be taken for a fact
    yield from (family for family in (up, sizes, age, paused, dead, overdue) if family.samples)


def _simple(by_labels: Mapping[tuple[str, ...], Sequence[ClusterStatus]]) -> Iterator[Family]:
    for name, text, count in _COUNTERS:
        counter = Family(name, text, _CLUSTER, "counter")
        for labels, some in by_labels.items():
            counter.add(labels, sum(map(count, some)))
        yield counter
    for name, text, value in _GAUGES:
        gauge = Family(name, text, _CLUSTER)
        for labels, some in by_labels.items():
            gauge.add(labels, max(map(value, some)))
        yield gauge


def _workers(by_labels: Mapping[tuple[str, ...], Sequence[ClusterStatus]]) -> Iterator[Family]:
    workers = Family("qcore_workers", "Workers by state.", (*_CLUSTER, "state"))
    replaced = Family(
        "qcore_workers_replaced", "Workers that were replaced, by cause.", (*_CLUSTER, "cause"), "counter"
    )
    memory = Family(
        "qcore_memory_bytes",
        "Memory of the processes, shared pages divided among those that share them.",
        (*_CLUSTER, "process"),
    )
    for labels, some in by_labels.items():
        states = Counter(worker.state for one in some for worker in one.workers)
        for state in sorted({*states, "idle", "busy"}):
            workers.add((*labels, state), states[state])
        causes: Counter[str] = Counter()
        for one in some:
            causes.update(one.reincarnations)
        for cause in sorted({*causes, "crashed", "timeout", "recycled"}):
            replaced.add((*labels, cause), causes[cause])
        memory.add((*labels, "supervisor"), sum(one.pss for one in some))
        memory.add((*labels, "workers"), sum(worker.pss for one in some for worker in one.workers))
    yield from (workers, replaced, memory)


def _tasks(by_labels: Mapping[tuple[str, ...], Sequence[ClusterStatus]]) -> Iterator[Family]:
    of_task = (*_CLUSTER, "task")
    runs = Family(
        "qcore_task_runs",
        "Runs of tasks that ended, by how they ended.",
        (*of_task, "outcome"),
        "counter",
    )
    seconds = Family("qcore_task_seconds", "Seconds that runs of tasks took.", of_task, "counter")
    retries = Family(
        "qcore_task_retries", "Messages that went back into the queue after a run.", of_task, "counter"
    )
    dead = Family("qcore_task_dead_letters", "Messages that became dead letters.", of_task, "counter")
    times = Family("qcore_task_run_seconds", "How long runs of a task took.", of_task, "histogram")
    waits = Family(
        "qcore_task_wait_seconds",
        "How long messages of a task waited that were enqueued without a delay.",
        of_task,
        "histogram",
    )
    for labels, some in by_labels.items():
        for name, whole in _of_tasks(some):
            own = (*labels, name)
            # A counter that is there from the start has a rate when it first counts.
            for outcome in sorted({*whole.runs, "success", "failure"}):
                runs.add((*own, outcome), whole.runs.get(outcome, 0))
            seconds.add(own, whole.seconds)
            retries.add(own, whole.retries)
            dead.add(own, whole.dead_letters)
            both = zip_longest(whole.success_times, whole.failed_times, fillvalue=0)
            times.add(own, *_places(map(sum, both)), whole.seconds)
            waits.add(own, *_places(whole.wait_times), whole.waited_seconds)
    yield from (runs, seconds, retries, dead, times, waits)


def _of_tasks(clusters: Sequence[ClusterStatus]) -> Iterator[tuple[str, TaskCounts]]:
    """Yield what clusters have counted together, by task."""
    for name in sorted({name for one in clusters for name in one.counts.tasks}):
        whole, *others = [one.counts.tasks[name] for one in clusters if name in one.counts.tasks]
        for more in others:
            whole = whole.plus(more)
        yield name, whole


def _places(counts: Iterable[int]) -> list[int]:
    """Return counts by place with those before each, and then how many there are."""
    below = [*accumulate(counts)] or [0]
    return below + [below[-1]] * (len(BOUNDS) + 2 - len(below))


def _histogram(name: str, text: str, durations: Mapping[tuple[str, ...], Sequence[Durations]]) -> Family:
    found = Family(name, text, _CLUSTER, "histogram")
    for labels, some in durations.items():
        counts = [0] * (len(BOUNDS) + 1)
        for one in some:
            for end, count in zip(one.bounds, one.counts, strict=True):
                counts[bisect_left(BOUNDS, end)] += count
        found.add(labels, *_places(counts), sum(one.total for one in some))
    return found
