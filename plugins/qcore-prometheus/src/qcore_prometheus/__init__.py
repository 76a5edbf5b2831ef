"""Exports the settings and the collector of `prometheus`."""

from typing import TYPE_CHECKING

from qcore.lazy import on_demand

if TYPE_CHECKING:
    from qcore_prometheus.collector import ClusterCollector
    from qcore_prometheus.settings import PrometheusSettings
else:
    __getattr__ = on_demand(__name__, ClusterCollector=".collector", PrometheusSettings=".settings")

__all__ = ["ClusterCollector", "PrometheusSettings"]
