"""How IronMQ is asked: HTTP with timeouts, and nothing sent twice."""

from __future__ import annotations

import json
import os
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import urllib3

from qcore.errors import BackendRefused, BackendUnavailable

if TYPE_CHECKING:
    from qcore_ironmq.settings import Place

#: seconds a connection and an answer may take
_CONNECT: Final = 5.0
_ANSWER: Final = 10.0
#: told when the answer to messages that were sent is lost
_DOUBT: Final = "the messages may have been accepted nevertheless"
#: a later call may be answered
_PASSING: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
    | {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.REQUEST_TIMEOUT}
)


class Gone(Exception):
    """What was asked for is not there, or the reservation is another's by now."""


class Link:
    """The project's queues over one connection, made anew after a fork."""

    def __init__(self, place: Place) -> None:
        self._base = f"{place.url}/projects/{quote(place.project_id, safe='')}/queues/"
        self._headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Authorization": f"OAuth {place.token}",
            "User-Agent": "qcore-ironmq",
        }
        #: where it is, for messages; never with the token
        self.title = f"{place.url}, project {place.project_id}"
        self._pool: urllib3.PoolManager | None = None
        self._pid = 0
        self._closed = False

    def call(
        self,
        method: str,
        queue: str,
        path: str = "",
        body: object = None,
        *,
        wait: float = 0.0,
        doubt: bool = False,
    ) -> Any:  # noqa: ANN401 - what a JSON answer holds
        """Send a request about a queue and return its answer.

        Raises:
            Gone: 404, or 403 of a reservation that has ended.
            BackendUnavailable: it does not answer, or asks to come again.
            BackendRefused: it will not.

        """
        url = self._base + quote(queue, safe="") + path
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = self._the_pool().request(
                method,
                url,
                body=data,
                headers=self._headers,
                # what is sent twice is there twice: whoever calls knows what may be repeated
                retries=False,
                timeout=urllib3.Timeout(connect=_CONNECT, read=_ANSWER + wait),
            )
        except urllib3.exceptions.HTTPError as exc:
            told = f"IronMQ at {self.title} does not answer: {exc}{f'; {_DOUBT}' if doubt else ''}"
            raise BackendUnavailable(told[:500]) from exc
        return self._read(answer)

    def close(self) -> None:
        """Let go of the connection for good."""
        self._closed = True
        if self._pool is not None:
            self._pool.clear()

    def _the_pool(self) -> urllib3.PoolManager:
        if self._closed:
            raise BackendRefused(f"this connection to IronMQ at {self.title} was closed; make a new one")
        if self._pool is None or self._pid != os.getpid():
            self._pool = urllib3.PoolManager(num_pools=1, maxsize=1)
            self._pid = os.getpid()
        return self._pool

    def _read(self, answer: urllib3.BaseHTTPResponse) -> Any:  # noqa: ANN401 - as above
        try:
            told = json.loads(answer.data or b"{}")
        except ValueError:
            told = {}
        if answer.status < HTTPStatus.BAD_REQUEST:
            return told
        why = str(told.get("msg") if isinstance(told, dict) else "") or f"HTTP {answer.status}"
        if answer.status == HTTPStatus.NOT_FOUND or (
            answer.status == HTTPStatus.FORBIDDEN and "eserv" in why
        ):
            raise Gone(why)
        if answer.status in _PASSING:
            raise BackendUnavailable(f"IronMQ at {self.title} asks to come again: {why}"[:500])
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise BackendRefused(
                f"IronMQ at {self.title} refuses: {why}; see iron_mq.token and iron_mq.project_id"[:500]
            )
        raise BackendRefused(f"IronMQ at {self.title} refuses: {why}"[:500])
