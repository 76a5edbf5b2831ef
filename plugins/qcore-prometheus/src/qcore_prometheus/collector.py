"""Hands metrics to the registry of a program that uses Prometheus's client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from qcore_prometheus.families import families
from qcore_prometheus.page import PLACES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.core import Metric

    from qcore.status import ClusterStatus
    from qcore_prometheus.families import Family
    from qcore_prometheus.queue_figures import QueueFigures


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
        # The backends may take a moment, and what the cluster counts is to be as new as can be.
        figures = self._figures()
        yield from map(_metric, families(self._name, self._clusters(), figures))


def _metric(family: Family) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        for labels, (*places, _, total) in family.samples:
            histogram.add_metric(labels, [*zip(PLACES, map(float, places), strict=True)], total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    simple = kind(family.name, family.text, labels=family.labels)
    for labels, (value,) in family.samples:
        simple.add_metric(labels, value)
    return simple
