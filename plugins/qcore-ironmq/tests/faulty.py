"""A proxy that stands for a bad line: it refuses, answers 503, or cuts answers short."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUSY: Final = b'{"msg": "Service Unavailable"}'
#: what it may do
FAULTS: Final = ("refuse", "busy", "truncate", "hang up")


class Faulty:
    """A line to a server's port; `fault` says what is wrong with it, nothing if it is well."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._fault = ""
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]

    @contextlib.contextmanager
    def broken(self, fault: str) -> Iterator[None]:
        """Let something be wrong for the time of a block."""
        self.set(fault)
        try:
            yield
        finally:
            self.set("")

    def set(self, fault: str) -> None:
        """Say what is wrong from now on; connections there are end."""
        was, self._fault = self._fault, fault
        if fault == "refuse":
            # who waits in accept would keep the port open
            _end(self._listener)
            self._listener.close()
        elif was == "refuse":
            self._listener = self._listen(self.port)
        with self._lock:
            ended, self._open = self._open, set()
        for one in ended:
            _end(one)

    def close(self) -> None:
        """End for good."""
        if self._fault != "refuse":
            self.set("refuse")

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
        return listener

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._talk, args=(client, self._fault), daemon=True).start()

    def _talk(self, client: socket.socket, fault: str) -> None:
        with client, contextlib.suppress(OSError):
            if fault == "hang up":
                client.recv(1 << 16)
                return
            if fault == "busy":
                client.recv(1 << 16)
                head = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                client.sendall(head % len(_BUSY) + _BUSY)
                return
            with socket.create_connection(("127.0.0.1", self._to)) as server:
                with self._lock:
                    self._open |= {client, server}
                up = threading.Thread(target=_pass, args=(client, server), daemon=True)
                up.start()
                if fault == "truncate":
                    # the service has done what was asked: only its answer is cut
                    client.sendall(server.recv(1 << 16)[:-3])
                else:
                    _pass(server, client)
                with self._lock:
                    self._open -= {client, server}
                # whoever reads there would keep it open
                _end(client)
                _end(server)


def _end(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _pass(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
