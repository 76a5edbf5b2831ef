"""Decides which metrics there are, with their names and labels."""

from __future__ import annotations

import time
from collections import Counter
from itertools import accumulate, zip_longest
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from qcore.status import TIME_BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from qcore.status import ClusterStatus, Durations, TaskCounts
    from qcore_prometheus.queue_figures import QueueFigures

#: labels of everything that belongs to a cluster
_CLUSTER: Final = ("cluster", "label", "host")
#: Ends of the places of a histogram, seconds: powers of two from a millisecond to an hour. Each is the
#: end of a place of the journal, so nothing has to be split.
BOUNDS: Final = TIME_BOUNDS

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
        lambda one: one.paused,
    ),
    ("qcore_cluster_troubles", "Current problems of the cluster.", lambda one: len(one.troubles)),
)


class ClusterCollector(Collector):
    """Turns the status of clusters and the figures of their queues into metrics."""

    def __init__(
        self, name: str, clusters: Callable[[], Sequence[ClusterStatus]], figures: Callable[[], QueueFigures]
    ) -> None:
        self._name = name
        self._clusters = clusters
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from _queues(self._name, self._figures())
        clusters = self._clusters()
        # Two clusters may have the same labels, and a name and its labels stand in a page once.
        by_labels: dict[tuple[str, ...], list[ClusterStatus]] = {}
        for one in clusters:
            by_labels.setdefault((one.name, one.label, one.host), []).append(one)
        yield from _simple(by_labels)
        yield from _workers(by_labels)
        yield from _tasks(by_labels)
        yield from _task_times(by_labels)
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


def _queues(cluster: str, figures: QueueFigures) -> Iterator[Metric]:
    up = GaugeMetricFamily("qcore_queue_up", "Whether the backends of the queues answer.", labels=["cluster"])
    up.add_metric([cluster], figures.up)
    sizes = GaugeMetricFamily(
        "qcore_queue_messages",
        "Messages by queue and state, where the broker knows.",
        labels=["cluster", "queue", "state"],
    )
    age = GaugeMetricFamily(
        "qcore_queue_oldest_seconds",
        "Seconds since the oldest ready message was enqueued; 0 if none is ready.",
        labels=["cluster", "queue"],
    )
    paused = GaugeMetricFamily(
        "qcore_queue_paused", "Whether the queue is paused.", labels=["cluster", "queue"]
    )
    for one in figures.queues:
        counts = {"ready": one.size.ready, "leased": one.size.leased, "delayed": one.size.delayed}
        for state, count in counts.items():
            if count is not None:
                sizes.add_metric([cluster, one.name, state], count)
        if figures.knows_age:
            seconds = 0.0 if one.oldest is None else max(0.0, time.time() - one.oldest)
            age.add_metric([cluster, one.name], seconds)
        paused.add_metric([cluster, one.name], one.paused)
    dead = GaugeMetricFamily(
        "qcore_dead_letters", "Dead letters, where the broker knows.", labels=["cluster"]
    )
    if figures.dead_letters is not None:
        dead.add_metric([cluster], figures.dead_letters)
    overdue = GaugeMetricFamily(
        "qcore_schedules_overdue",
        "Schedules that should have fired more than ten seconds ago.",
        labels=["cluster"],
    )
    if figures.overdue is not None:
        overdue.add_metric([cluster], figures.overdue)
    # what is not known has no sample: a zero would be taken for a fact
    yield from (family for family in (up, sizes, age, paused, dead, overdue) if family.samples)


def _simple(by_labels: Mapping[tuple[str, ...], Sequence[ClusterStatus]]) -> Iterator[Metric]:
    for name, text, count in _COUNTERS:
        counter = CounterMetricFamily(name, text, labels=_CLUSTER)
        for labels, some in by_labels.items():
            counter.add_metric(labels, sum(map(count, some)))
        yield counter
    for name, text, value in _GAUGES:
        gauge = GaugeMetricFamily(name, text, labels=_CLUSTER)
        for labels, some in by_labels.items():
            gauge.add_metric(labels, max(map(value, some)))
        yield gauge


def _workers(by_labels: Mapping[tuple[str, ...], Sequence[ClusterStatus]]) -> Iterator[Metric]:
    workers = GaugeMetricFamily("qcore_workers", "Workers by state.", labels=[*_CLUSTER, "state"])
    replaced = CounterMetricFamily(
        "qcore_workers_replaced", "Workers that were replaced, by cause.", labels=[*_CLUSTER, "cause"]
    )
    memory = GaugeMetricFamily(
        "qcore_memory_bytes",
        "Memory of the processes, shared pages divided among those that share them.",
        labels=[*_CLUSTER, "process"],
    )
    for labels, some in by_labels.items():
        states = Counter(worker.state for one in some for worker in one.workers)
        for state in sorted({*states, "idle", "busy"}):
            workers.add_metric([*labels, state], states[state])
        causes: Counter[str] = Counter()
        for one in some:
            causes.update(one.reincarnations)
        for cause in sorted({*causes, "crashed", "timeout", "recycled"}):
            replaced.add_metric([*labels, cause], causes[cause])
        memory.add_metric([*labels, "supervisor"], sum(one.pss for one in some))
        memory.add_metric([*labels, "workers"], sum(worker.pss for one in some for worker in one.workers))
    yield from (workers, replaced, memory)


def _tasks(by_labels: Mapping[tuple[str, ...], Sequence[ClusterStatus]]) -> Iterator[Metric]:
    of_task = [*_CLUSTER, "task"]
    runs = CounterMetricFamily(
        "qcore_task_runs", "Runs of tasks that ended, by how they ended.", labels=[*of_task, "outcome"]
    )
    seconds = CounterMetricFamily("qcore_task_seconds", "Seconds that runs of tasks took.", labels=of_task)
    retries = CounterMetricFamily(
        "qcore_task_retries", "Messages that went back into the queue after a run.", labels=of_task
    )
    dead = CounterMetricFamily(
        "qcore_task_dead_letters", "Messages that became dead letters.", labels=of_task
    )
    for labels, some in by_labels.items():
        for name, whole in _of_tasks(some):
            # A counter that is there from the start has a rate when it first counts.
            for outcome in sorted({*whole.runs, "success", "failure"}):
                runs.add_metric([*labels, name, outcome], whole.runs.get(outcome, 0))
            seconds.add_metric([*labels, name], whole.seconds)
            retries.add_metric([*labels, name], whole.retries)
            dead.add_metric([*labels, name], whole.dead_letters)
    yield from (runs, seconds, retries, dead)


def _task_times(by_labels: Mapping[tuple[str, ...], Sequence[ClusterStatus]]) -> Iterator[Metric]:
    of_task = [*_CLUSTER, "task"]
    runs = HistogramMetricFamily("qcore_task_run_seconds", "How long runs of a task took.", labels=of_task)
    waits = HistogramMetricFamily(
        "qcore_task_wait_seconds",
        "How long messages of a task waited that were enqueued without a delay.",
        labels=of_task,
    )
    for labels, some in by_labels.items():
        for name, whole in _of_tasks(some):
            both = [*zip_longest(whole.success_times, whole.failed_times, fillvalue=0)]
            runs.add_metric([*labels, name], _buckets(map(sum, both)), whole.seconds)
            waits.add_metric([*labels, name], _buckets(whole.wait_times), whole.waited_seconds)
    yield from (runs, waits)


def _of_tasks(clusters: Sequence[ClusterStatus]) -> Iterator[tuple[str, TaskCounts]]:
    """Yield what clusters have counted together, by task."""
    for name in sorted({name for one in clusters for name in one.counts.tasks}):
        whole, *others = [one.counts.tasks[name] for one in clusters if name in one.counts.tasks]
        for more in others:
            whole = whole.plus(more)
        yield name, whole


def _buckets(counts: Iterable[int]) -> list[tuple[str, float]]:
    """Return counts by place as the places of a page, each with those before it."""
    below = accumulate(counts)
    found, last = [], 0
    for bound in BOUNDS:
        last = next(below, last)
        found.append((repr(bound), float(last)))
    return [*found, ("+Inf", float(next(below, last)))]


def _histogram(
    name: str, text: str, durations: Mapping[tuple[str, ...], Sequence[Durations]]
) -> HistogramMetricFamily:
    found = HistogramMetricFamily(name, text, labels=_CLUSTER)
    for labels, some in durations.items():
        pairs = [pair for one in some for pair in zip(one.bounds, one.counts, strict=True)]
        buckets = [
            (repr(bound), float(sum(count for end, count in pairs if end <= bound))) for bound in BOUNDS
        ]
        buckets.append(("+Inf", float(sum(count for _, count in pairs))))
        found.add_metric(labels, buckets, sum(one.total for one in some))
    return found
