"""What stands between a program and SQS may be silent, or hang up at any point."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from qcore.errors import BackendUnavailable
from qcore.model import Outgoing, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore_sqs import SqsBroker

#: resets the connection when it is closed
RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards connections to a server, until it is told to do something else with them."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        #: `forward`, `silent`, `reset` once the request was forwarded, or `cut` amid the answer
        self.does = "forward"
        #: operations that are treated so; the others are forwarded
        self.only = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._socket.accept()
                threading.Thread(target=self._talk, args=(one,), daemon=True).start()

    def _talk(self, one: socket.socket) -> None:
        with one, contextlib.suppress(OSError):
            while request := _request(one):
                with socket.create_connection(self._server) as server:
                    server.settimeout(10)
                    does = self.does if self.only in request else "forward"
                    if does == "silent":
                        continue
                    # one request a connection, so that the end of the answer is the end of it
                    server.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
                    answer = b""
                    while part := server.recv(1 << 16):
                        answer += part
                if does == "reset":
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    return
                one.sendall(answer[: len(answer) // 2] if does == "cut" else answer)
                if does == "cut" or b"connection: close" in answer.lower():
                    return


def _request(one: socket.socket) -> bytes:
    """Return a request with its whole body, nothing at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := one.recv(1 << 16)):
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    missing = int(found[1]) - len(body) if found else 0
    while missing > 0 and (part := one.recv(missing)):
        data += part
        missing -= len(part)
    return data


@pytest.fixture
def proxy(sqs: Any) -> Iterator[Proxy]:
    """Return a proxy."""
    made = Proxy(sqs.port)
    yield made
    made.close()


def limit(does: str) -> float:
    """Return the seconds that a call may take: a silent server costs them, the others must be answered."""
    return 4.0 if does == "silent" else 30.0


def answered(call: Callable[[], object]) -> None:
    """Repeat a call until it is answered: on a busy machine the server may take longer than the limit."""
    end = time.monotonic() + 120
    while True:
        try:
            call()
        except BackendUnavailable:
            assert time.monotonic() < end
        else:
            return


@pytest.mark.parametrize("does", ["silent", "reset", "cut"])
def test_an_enqueue_without_an_answer_has_an_unknown_outcome(
    new: Callable[..., SqsBroker], proxy: Proxy, does: str
) -> None:
    """It is not repeated, because the message may be there; it is there once at most."""
    broker, direct = new(endpoint_url=proxy.url, timeout=limit(does)), new()
    answered(broker.ping)
    direct.enqueue([Outgoing(os.urandom(16), b"first")])
    assert [one.body for one in direct.lease(1, 5.0)] == [b"first"]
    proxy.does, proxy.only = does, b"SendMessage"

    began = time.monotonic()
    with pytest.raises(BackendUnavailable, match="tasks may have been accepted"):
        broker.enqueue([Outgoing(os.urandom(16), b"second")])

    assert time.monotonic() - began < (15 if does == "silent" else 60)
    found = [one.body for one in direct.lease(10, 1.0)]
    assert found == ([] if does == "silent" else [b"second"])


@pytest.mark.parametrize("does", ["silent", "reset", "cut"])
def test_a_settlement_without_an_answer_is_repeated(
    new: Callable[..., SqsBroker], proxy: Proxy, does: str
) -> None:
    """It may be repeated; when the proxy answers again, the message is removed."""
    broker, direct = new(endpoint_url=proxy.url, timeout=limit(does)), new()
    answered(broker.ping)
    direct.enqueue([Outgoing(os.urandom(16), b"one")])
    (leased,) = direct.lease(1, 5.0)
    proxy.does, proxy.only = does, b"DeleteMessage"

    with pytest.raises(BackendUnavailable, match="does not answer"):
        broker.settle([Settlement(leased.receipt)])
    proxy.does = "forward"
    answered(lambda: broker.settle([Settlement(leased.receipt)]))

    size = direct.size()
    assert (size.ready, size.leased) == (0, 0)
