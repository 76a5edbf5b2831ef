"""How IronMQ is asked: HTTP with timeouts, and nothing sent twice."""

from __future__ import annotations

import http.client
import json
import os
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import urllib3

from qcore.errors import BackendRejected, BackendUnavailable, QueueMissing
from qcore_ironmq import deadline
from qcore_ironmq.keystone import Keystone
from qcore_ironmq.proxy import Proxy
from qcore_plugin_support import call_limit
from qcore_text.wording import if_nobody_listens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qcore_ironmq.settings import ServerAddress

#: seconds a connection may take
_CONNECT: Final = 5.0
#: reported when the answer to messages that were sent is lost
_UNKNOWN_OUTCOME: Final = "the messages may have been accepted nevertheless"
#: no connection was made: nothing has been sent
_UNSENT: Final = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
)
#: what urllib3 raises for answers that do not come, end too soon or are not HTTP
_LOST: Final = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
_HEADERS: Final = {
    "Accept": "application/json",
    "Content-Type": "application/json",
    "User-Agent": "qcore-ironmq",
}
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


class NotFound(BackendUnavailable):
    """A queue or message is missing, or its reservation has ended.

    Where that is not expected, as of a queue that was just created, it is a fault that may pass.
    """


class Client:
    """The project's queues over one connection, made anew after a fork."""

    def __init__(self, address: ServerAddress) -> None:
        self._base = f"{address.url}/projects/{quote(address.project_id, safe='')}/queues/"
        self._token = address.token
        self._keystone = Keystone(address.keystone) if address.keystone else None
        self._proxy = address.proxy
        self._timeout = address.timeout
        #: where it is, for messages; never with the token
        self.title = f"{address.url}, project {address.project_id}"
        #: connections, by the URL they lead to
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._pid = 0
        #: when the last answer was written, as HTTP has it
        self.date = ""
        self._closed = False
        # a faulty proxy is reported before the first request
        Proxy.of(self._proxy, self._base)

    def call(
        self,
        method: str,
        queue: str,
        path: str = "",
        body: object = None,
        *,
        promised: str = "",
        wait: float = 0.0,
        unknown_outcome: bool = False,
    ) -> Any:  # noqa: ANN401 - what a JSON answer holds
        """Send a request about a queue and return its answer, or of it what was promised.

        Raises:
            Gone: there is no such queue or message, or the reservation has ended.
            BackendUnavailable: it does not answer, or asks to come again.
            BackendRejected: it will not, or it is not an IronMQ.

        """
        url = self._base + quote(queue, safe="") + path
        data = None if body is None else json.dumps(body).encode()
        with call_limit.within(self._timeout, wait=wait):
            answer = self._send(method, url, data, unknown_outcome=unknown_outcome)
            self.date = answer.headers.get("Date", "")
            if answer.status == HTTPStatus.UNAUTHORIZED and self._keystone is not None:
                # a token may end before its time, and what bears it is not done
                self._keystone.forget()
                answer = self._send(method, url, data, unknown_outcome=unknown_outcome)
        return self._read(answer, promised)

    def require(self, queue: str) -> None:
        """Raise `QueueMissing` where there is no queue of this name."""
        try:
            self.call("GET", queue, promised="queue")
        except NotFound as exc:
            raise QueueMissing(
                f"there is no queue {queue!r} at IronMQ at {self.title}; the first task that is enqueued"
                " creates it; check the name if there should be one"
            ) from exc

    def size(self, queue: str) -> int:
        """Return how many messages of a queue are ready; one that is not there has none."""
        try:
            size = self.call("GET", queue, promised="queue").get("size", 0)
        except NotFound:
            return 0
        if type(size) is not int or size < 0:
            raise self.stranger("the size of its queue is not a number")
        return size

    def stranger(self, why: str) -> BackendRejected:
        """Return the error to raise for an answer that IronMQ does not give."""
        text = f"what answers at {self.title} is not an IronMQ: {why}; see iron_mq.host and iron_mq.port"
        return BackendRejected(text[:500])

    def close(self) -> None:
        """Let go of the connections for good."""
        self._closed = True
        for pool in self._pools.values():
            pool.clear()

    def _send(
        self, method: str, url: str, data: bytes | None, *, unknown_outcome: bool
    ) -> urllib3.BaseHTTPResponse:
        token = self._keystone.token(self._ask_keystone) if self._keystone else self._token
        headers = _HEADERS | {"Authorization": f"OAuth {token}"}
        if not call_limit.lasts(0.0):
            # not sent, so the outcome is known
            raise BackendUnavailable(f"IronMQ at {self.title} does not answer in time"[:500])
        try:
            return self._request(self._pool(self._base), method, url, data, headers=headers)
        except _LOST as exc:
            unknown_outcome = unknown_outcome and not isinstance(exc, _UNSENT)
            addition = f"; {_UNKNOWN_OUTCOME}" if unknown_outcome else ""
            todo = if_nobody_listens(str(exc), "`iron_mq`")
            text = f"IronMQ at {self.title} does not answer: {exc}{todo}{addition}"
            raise BackendUnavailable(text[:500]) from exc

    def _ask_keystone(self, url: str, data: bytes) -> urllib3.BaseHTTPResponse:
        try:
            return self._request(self._pool(url), "POST", url, data, headers=_HEADERS)
        except _LOST as exc:
            raise BackendUnavailable(f"Keystone at {url} does not answer: {exc}"[:500]) from exc

    @staticmethod
    def _request(
        pool: urllib3.PoolManager,
        method: str,
        url: str,
        data: bytes | None,
        *,
        headers: dict[str, str],
    ) -> urllib3.BaseHTTPResponse:
        seconds = call_limit.left()
        return pool.request(
            method,
            url,
            body=data,
            headers=headers,
            # what is sent twice is there twice: whoever calls knows what may be repeated
            retries=False,
            timeout=urllib3.Timeout(connect=min(seconds, _CONNECT), read=seconds),
        )

    def _pool(self, to: str) -> urllib3.PoolManager:
        if self._closed:
            raise BackendRejected(f"this connection to IronMQ at {self.title} was closed; make a new one")
        if self._pid != os.getpid():
            self._pools, self._pid = {}, os.getpid()
        if to not in self._pools:
            proxy = Proxy.of(self._proxy, to)
            pool = proxy.pool() if proxy else urllib3.PoolManager(num_pools=1, maxsize=1)
            self._pools[to] = deadline.limited(pool)
        return self._pools[to]

    def _read(self, answer: urllib3.BaseHTTPResponse, promised: str) -> Any:  # noqa: ANN401 - as above
        try:
            reply = json.loads(answer.data)
        except (ValueError, RecursionError):
            reply = None
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise self._error(answer.status, reply)
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise self.stranger(f"it answers HTTP {answer.status}")
        if not isinstance(reply, dict):
            raise self.stranger("its answer is not a JSON object")
        if not promised:
            return reply
        if not isinstance(reply.get(promised), _KINDS[promised]):
            raise self.stranger(f"its answer has no {promised}")
        return reply[promised]

    def _error(self, status: int, reply: object) -> Exception:
        """Return what to raise for an answer that is an error."""
        msg = reply.get("msg") if isinstance(reply, dict) else None
        why = msg if msg and isinstance(msg, str) else f"HTTP {status}"
        if status == HTTPStatus.NOT_FOUND:
            if why.lower().startswith(_NOT_FOUND):
                return NotFound(f"IronMQ at {self.title}: {why}"[:500])
            text = f"IronMQ at {self.title} is not there: {why}; see iron_mq.host and iron_mq.project_id"
            return BackendRejected(text[:500])
        if status == HTTPStatus.FORBIDDEN and "eserv" in why:
            return NotFound(f"IronMQ at {self.title}: {why}"[:500])
        if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            text = "the proxy wants a user and a password; see iron_mq.proxy, or HTTPS_PROXY"
            return BackendRejected(f"IronMQ at {self.title} cannot be reached: {text}"[:500])
        if status in _PASSING:
            return BackendUnavailable(f"IronMQ at {self.title} asks to come again: {why}"[:500])
        where = ""
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            where = "; see iron_mq.token and iron_mq.project_id"
        return BackendRejected(f"IronMQ at {self.title} refuses: {why}{where}"[:500])
