"""Serves the metrics of a cluster over HTTP."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server

from qcore.app import App
from qcore_prometheus.collector import ClusterCollector
from qcore_prometheus.families import families
from qcore_prometheus.queue_figures import BackgroundReader, QueueReader
from qcore_prometheus.scrapes import Scrapes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from wsgiref.simple_server import WSGIServer

    from qcore.hookspecs import ClusterEvent
    from qcore.status import ClusterStatus
    from qcore_prometheus.families import Family
    from qcore_prometheus.settings import PrometheusSettings

_log = logging.getLogger("qcore.prometheus")


class Endpoint:
    """One listening socket and what it serves."""

    def __init__(self, settings: PrometheusSettings, event: ClusterEvent) -> None:
        """Begin to listen.

        Raises:
            OSError: the address is in use, or not of this machine.

        """
        self.status = event.status
        registry = CollectorRegistry()
        # It listens first: nothing is to be closed if that fails.
        self._server: WSGIServer
        self._server, _ = start_http_server(settings.port, settings.host, registry)
        self._queue = BackgroundReader(QueueReader(App(event.config)))
        self._name = event.config.name
        registry.register(ClusterCollector(self._name, self._clusters, self._queue.read))
        self._server.set_app(Scrapes(self._families, make_wsgi_app(registry)))
        self.address = f"{settings.address.rpartition(':')[0]}:{self._server.server_port}"

    def _clusters(self) -> Sequence[ClusterStatus]:
        return [self.status]

    def _families(self) -> Iterator[Family]:
        figures = self._queue.read()
        return families(self._name, self._clusters(), figures)

    def close(self) -> None:
        """Stop listening; it waits for no scrape."""
        self._queue.close()
        threading.Thread(target=self._shut_down, name="qcore-prometheus-stop", daemon=True).start()

    def _shut_down(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Endpoints:
    """The endpoints of this process, by the id of their cluster."""

    def __init__(self) -> None:
        self._open: dict[str, Endpoint] = {}

    def open(self, settings: PrometheusSettings, event: ClusterEvent) -> None:
        """Begin to serve; a cluster whose address cannot be had works without."""
        try:
            endpoint = Endpoint(settings, event)
        except OSError as exc:
            _log.warning(
                "cluster %s serves no metrics: it cannot listen on %s: %s; it works without,"
                " set prometheus.address to a free address of this machine",
                event.config.name,
                settings.address,
                exc.strerror or exc,
            )
            return
        self._open[event.status.id] = endpoint
        _log.info("cluster %s serves metrics on http://%s/metrics", event.config.name, endpoint.address)

    def show(self, status: ClusterStatus) -> None:
        """Serve a newer status."""
        if (endpoint := self._open.get(status.id)) is not None:
            endpoint.status = status

    def close(self, status: ClusterStatus) -> None:
        """Serve no more."""
        if (endpoint := self._open.pop(status.id, None)) is not None:
            endpoint.close()


#: those of this process
ENDPOINTS: Final = Endpoints()
