"""A server that answers a byte at a time does not hold a call for ever."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from qcore.errors import BackendRejected, BackendUnavailable, ConfigError
from qcore.interfaces import Settings
from qcore_disque.broker import DisqueBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def dripping() -> Iterator[Callable[[bytes], int]]:
    """Return a function that serves these bytes, one each tenth of a second, and returns the port."""
    over = threading.Event()
    listeners: list[socket.socket] = []

    def drip(client: socket.socket, answer: bytes) -> None:
        with client:
            for byte in answer:
                try:
                    client.sendall(bytes([byte]))
                except OSError:
                    return
                if over.wait(0.1):
                    return

    def accept(listener: socket.socket, answer: bytes) -> None:
        for _ in itertools.count():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(client, answer), daemon=True).start()

    def serve(answer: bytes) -> int:
        listeners.append(listener := socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=accept, args=(listener, answer), daemon=True).start()
        port: int = listener.getsockname()[1]
        return port

    yield serve
    over.set()
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def broker_at(port: int, **sections: object) -> DisqueBroker:
    """Return a broker that speaks to this port."""
    return DisqueBroker(Settings(name="drip", sections={"disque_nodes": [f"127.0.0.1:{port}"], **sections}))


def test_an_answer_that_drips_is_given_up_in_time(dripping: Callable[[bytes], int]) -> None:
    """The limit is for the whole call and does not start anew with each byte."""
    port = dripping(b"*3\r\n:1\r\n$4000\r\n" + bytes(4000))
    since = time.monotonic()

    with pytest.raises(BackendUnavailable, match="does not answer"):
        broker_at(port, disque_timeout=0.5).ping()

    # whole it would be here after four hundred seconds, and without the setting after five
    assert time.monotonic() - since < 4


def test_a_limit_is_above_zero() -> None:
    """Another one is an error that names the value."""
    with pytest.raises(ConfigError, match="disque_timeout: got 0; must be a number of seconds above 0"):
        broker_at(1, disque_timeout=0)


def test_a_greeting_that_is_not_one_is_an_error_of_ours(dripping: Callable[[bytes], int]) -> None:
    """Whoever listens there is named, and no error of the client library comes through."""
    port = dripping(b"aa\r\n")

    with pytest.raises((BackendUnavailable, BackendRejected), match=f"127.0.0.1:{port}"):
        broker_at(port).ping()
