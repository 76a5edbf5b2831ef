"""Decides which metrics a supervisor exports of what its workers have counted."""

from __future__ import annotations

import time
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import attrs
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Histogram as HistogramInstrument
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)

from qcore.model import Kind
from qcore.status import TIME_BOUNDS
from qcore_otel import sdk
from qcore_otel.conventions import (
    DESTINATION,
    ERROR_TYPE,
    OPERATION,
    OTHER_ERROR,
    SCOPE,
    SYSTEM,
    TASK,
    encodable,
)
from qcore_queues.names import destination

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from qcore.status import ClusterStatus, TaskCounts

#: ends of runs without a failure
_FINE: Final = frozenset({Kind.SUCCESS.value, Kind.SKIPPED.value, Kind.ALREADY_SUCCEEDED.value})


#: task, queue and error
_Series = tuple[str, str, str]


@attrs.frozen
class _Times:
    """How many runs took how long, by place among `TIME_BOUNDS`."""

    counts: tuple[int, ...] = ()
    seconds: float = 0.0

    def since(self, before: _Times) -> _Times:
        """Return what was added since."""
        pairs = zip_longest(self.counts, before.counts, fillvalue=0)
        return _Times(tuple(now - then for now, then in pairs), max(0.0, self.seconds - before.seconds))


class ClusterMetrics:
    """Exports how long runs took and how they ended, of all workers of a cluster together.

    A worker that recorded each run would take longer for that than for a short task, and each would
    send series of its own under the same name.
    """

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._began = time.time_ns()
        self._tasks: Mapping[str, TaskCounts] = {}
        readers = [
            PeriodicExportingMetricReader(_WithDurations(kind(), self)) for kind in sdk.exporters("metrics")
        ]
        self.provider = MeterProvider(readers, shutdown_on_exit=False)
        # It is also what has the readers export: one that has collected nothing exports nothing.
        self.provider.get_meter(SCOPE).create_observable_counter(
            "messaging.client.consumed.messages",
            [self._consumed],
            unit="{message}",
            description="Runs of tasks that ended, and messages that were not run.",
        )

    def show(self, status: ClusterStatus) -> None:
        """Export these figures from now on."""
        self._tasks = status.counts.tasks

    def _consumed(self, _: object) -> Iterable[Observation]:
        for name, queue, counts in self._parts():
            for kind, count in counts.runs.items():
                yield Observation(count, self._of(name, queue, "" if kind in _FINE else kind))

    def _parts(self) -> Iterator[tuple[str, str, TaskCounts]]:
        """Yield what was counted, with the task and the queue."""
        for name, counts in self._tasks.items():
            for queue, part in counts.parts.items():
                yield name, queue, part

    def _of(self, name: str, queue: str, error: str) -> dict[str, str]:
        labels = {
            SYSTEM: "qcore",
            OPERATION: "process",
            DESTINATION: encodable(destination(self._cluster, queue)),
            TASK: encodable(name),
        }
        return {**labels, ERROR_TYPE: error} if error else labels

    def durations(self) -> Iterator[tuple[_Series, _Times]]:
        """Yield how long runs took, by task, queue and error."""
        for name, queue, counts in self._parts():
            if counts.success_times:
                yield (name, queue, ""), _Times(counts.success_times, counts.seconds - counts.failed_seconds)
            if counts.failed_times:
                yield (name, queue, OTHER_ERROR), _Times(counts.failed_times, counts.failed_seconds)

    def histogram(self, before: dict[_Series, _Times] | None, since: int) -> Metric:
        """Return the durations.

        Args:
            before: what was exported before, which is replaced and not exported again; None = all is.
            since: epoch nanoseconds at which `before` was exported.

        """
        now, points = time.time_ns(), []
        for key, times in self.durations():
            shown = times
            if before is not None:
                shown = times.since(before.get(key, _Times()))
                before[key] = times
                if not sum(shown.counts):
                    continue
            points.append(_point(self._of(*key), shown, self._began if before is None else since, now))
        kind = AggregationTemporality.CUMULATIVE if before is None else AggregationTemporality.DELTA
        return Metric(
            "messaging.process.duration", "How long runs of tasks took.", "s", Histogram(points, kind)
        )


def _point(labels: dict[str, str], times: _Times, start: int, now: int) -> HistogramDataPoint:
    counts = [*times.counts, *[0] * (len(TIME_BOUNDS) + 1 - len(times.counts))]
    return HistogramDataPoint(
        attributes=labels,
        start_time_unix_nano=start,
        time_unix_nano=now,
        count=sum(counts),
        sum=times.seconds,
        bucket_counts=counts,
        explicit_bounds=list(TIME_BOUNDS),
        min=None,  # type: ignore[arg-type]  # which the protocol leaves out
        max=None,  # type: ignore[arg-type]  # as above
    )


class _WithDurations(MetricExporter):
    """Adds to what is exported the histogram that no instrument of the SDK can take."""

    def __init__(self, inner: MetricExporter, metrics: ClusterMetrics) -> None:
        super().__init__(inner._preferred_temporality, inner._preferred_aggregation)  # noqa: SLF001 - as the SDK's readers have it
        self._inner = inner
        self._metrics = metrics
        wanted = (self._preferred_temporality or {}).get(HistogramInstrument)
        delta = wanted is AggregationTemporality.DELTA
        self._before: dict[_Series, _Times] | None = {} if delta else None
        self._since = time.time_ns()

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,
        **kwargs: Any,
    ) -> MetricExportResult:
        """Export what was collected, and the durations."""
        since, self._since = self._since, time.time_ns()
        metric = self._metrics.histogram(self._before, since)
        resource, *_ = metrics_data.resource_metrics
        scope, *_ = resource.scope_metrics
        if metric.data.data_points:
            ours: Sequence[Metric] = [*scope.metrics, metric]
            scope = type(scope)(scope=scope.scope, metrics=ours, schema_url=scope.schema_url)
            resource = type(resource)(
                resource=resource.resource, scope_metrics=[scope], schema_url=resource.schema_url
            )
            metrics_data = MetricsData(resource_metrics=[resource])
        return self._inner.export(metrics_data, timeout_millis=timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Hand it on."""
        return self._inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Close the connection."""
        self._inner.shutdown(timeout_millis, **kwargs)
