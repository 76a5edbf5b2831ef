"""How IronMQ is asked: HTTP with timeouts, and nothing sent twice."""

from __future__ import annotations

import json
import os
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import urllib3

from qcore.errors import BackendRejected, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qcore_ironmq.settings import Place

#: seconds a connection and an answer may take
_CONNECT: Final = 5.0
_ANSWER: Final = 10.0
#: told when the answer to messages that were sent is lost
_DOUBT: Final = "the messages may have been accepted nevertheless"
#: no connection was made: nothing has been sent
_UNSENT: Final = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
#: what the service says with a 404; another one is the address's or the project's
_NOT_FOUND: Final = ("queue not found", "message not found")
#: what an answer may hold, and of which kind it is then
_KINDS: Final[Mapping[str, tuple[type, ...]]] = MappingProxyType(
    {"ids": (list,), "messages": (list,), "queue": (dict,), "message": (dict,), "reservation_id": (str, int)}
)
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


class WorkerExit(Exception):
    """What was asked for is not there, or the reservation is another's by now."""


class Client:
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
        promised: str = "",
        wait: float = 0.0,
        doubt: bool = False,
    ) -> Any:  # noqa: ANN401 - what a JSON answer holds
        """Send a request about a queue and return its answer, or of it what was promised.

        Raises:
            Gone: there is no such queue or message, or the reservation has ended.
            BackendUnavailable: it does not answer, or asks to come again.
            BackendRejected: it will not, or it is no IronMQ.

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
            doubtful = doubt and not isinstance(exc, _UNSENT)
            told = f"IronMQ at {self.title} does not answer: {exc}{f'; {_DOUBT}' if doubtful else ''}"
            raise BackendUnavailable(told[:500]) from exc
        return self._read(answer, promised)

    def close(self) -> None:
        """Let go of the connection for good."""
        self._closed = True
        if self._pool is not None:
            self._pool.clear()

    def _the_pool(self) -> urllib3.PoolManager:
        if self._closed:
            raise BackendRejected(f"this connection to IronMQ at {self.title} was closed; make a new one")
        if self._pool is None or self._pid != os.getpid():
            self._pool = urllib3.PoolManager(num_pools=1, maxsize=1)
            self._pid = os.getpid()
        return self._pool

    def _read(self, answer: urllib3.BaseHTTPResponse, promised: str) -> Any:  # noqa: ANN401 - as above
        try:
            told = json.loads(answer.data)
        except ValueError:
            told = None
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise self._error(answer.status, told)
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise self._stranger(f"it answers HTTP {answer.status}")
        if not isinstance(told, dict):
            raise self._stranger("its answer is no JSON object")
        if not promised:
            return told
        if not isinstance(told.get(promised), _KINDS[promised]):
            raise self._stranger(f"its answer has no {promised}")
        return told[promised]

    def _stranger(self, why: str) -> BackendRejected:
        told = f"what answers at {self.title} is no IronMQ: {why}; see iron_mq.host and iron_mq.port"
        return BackendRejected(told[:500])

    def _error(self, status: int, told: object) -> Exception:
        """Return what to raise for an answer that is an error."""
        msg = told.get("msg") if isinstance(told, dict) else None
        why = msg if msg and isinstance(msg, str) else f"HTTP {status}"
        if status == HTTPStatus.NOT_FOUND:
            if why.lower().startswith(_NOT_FOUND):
                return WorkerExit(why)
            told = f"IronMQ at {self.title} is not there: {why}; see iron_mq.host and iron_mq.project_id"
            return BackendRejected(told[:500])
        if status == HTTPStatus.FORBIDDEN and "eserv" in why:
            return WorkerExit(why)
        if status in _PASSING:
            return BackendUnavailable(f"IronMQ at {self.title} asks to come again: {why}"[:500])
        where = ""
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            where = "; see iron_mq.token and iron_mq.project_id"
        return BackendRejected(f"IronMQ at {self.title} refuses: {why}{where}"[:500])
