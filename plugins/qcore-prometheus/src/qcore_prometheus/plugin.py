"""Lists what this plugin offers, by name."""

# ruff: noqa: PLC0415 - what needs the client is imported only where metrics are wanted

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.hookspecs import hookimpl
from qcore_prometheus.settings import PrometheusSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import click

    from qcore.hookspecs import ClusterEvent


@hookimpl
def qcore_settings() -> Mapping[str, Any]:
    """Offer the configuration key `prometheus`."""
    return {"prometheus": PrometheusSettings}


@hookimpl
def qcore_commands() -> Mapping[str, Callable[[], click.Command]]:
    """Offer the command `metrics`."""
    return {"metrics": _metrics}


@hookimpl
def qcore_cluster_start(event: ClusterEvent) -> None:
    """Begin to serve, if that is configured."""
    settings = event.config.sections.get("prometheus")
    if settings is not None:
        from qcore_prometheus.endpoint import ENDPOINTS

        ENDPOINTS.open(settings, event)


@hookimpl
def qcore_cluster_status(event: ClusterEvent) -> None:
    """Serve a newer status."""
    if event.config.sections.get("prometheus") is not None:
        from qcore_prometheus.endpoint import ENDPOINTS

        ENDPOINTS.show(event.status)


@hookimpl
def qcore_cluster_stop(event: ClusterEvent) -> None:
    """Serve no more."""
    if event.config.sections.get("prometheus") is not None:
        from qcore_prometheus.endpoint import ENDPOINTS

        ENDPOINTS.close(event.status)


def _metrics() -> click.Command:
    """Print the figures of the queue and its clusters for Prometheus."""
    from qcore_prometheus.command import command

    return command
