"""Decides in which format a scrape is answered, and compresses it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Final

from prometheus_client.exposition import choose_encoder, gzip_accepted

from qcore_prometheus.page import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from qcore_prometheus.families import Family

_OPENMETRICS: Final = "application/openmetrics-text; version=1."
#: by which even names of ours are changed
_OTHER_NAMES: Final = "escaping=dots"
#: Five times as fast as the level that is usual, and the page is a fifth longer.
_LEVEL: Final = 1


class Scrapes:
    """Answers as the client of Prometheus does, and asks that for what is not a usual scrape."""

    def __init__(self, families: Callable[[], Iterable[Family]], others: WSGIApplication) -> None:
        self._families = families
        self._others = others
        self._writer = Writer()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one."""
        _, kind = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        openmetrics = kind.startswith(_OPENMETRICS)
        if (
            environ["REQUEST_METHOD"] != "GET"
            or environ["PATH_INFO"] == "/favicon.ico"
            or environ.get("QUERY_STRING")
            or not (openmetrics or kind.startswith("text/plain"))
            or kind.endswith(_OTHER_NAMES)
        ):
            return self._others(environ, start_response)
        page = self._writer.write(self._families(), openmetrics=openmetrics)
        headers = [("Content-Type", kind)]
        if gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
            page = gzip.compress(page, _LEVEL, mtime=0)
            headers.append(("Content-Encoding", "gzip"))
        start_response("200 OK", headers)
        return [page]
