"""A line to a server that drips, is late or is cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: seconds between two bytes, unless a test says otherwise
_PAUSE: Final = 0.05
#: seconds a call is given to be answered at all
_TIMEOUT: Final = 45.0


def in_time(call: Callable[[], object]) -> None:
    """Make a call until it is answered in time, as on a busy machine it may not be at first."""
    end = time.monotonic() + _TIMEOUT
    while True:
        try:
            call()
        except BackendUnavailable:
            if time.monotonic() > end:
                raise
        else:
            return


class ServerLine:
    """A port of this machine that leads to a server, whose answers may drip, or which may be away."""

    def __init__(self, target: tuple[str, int] | str, pause: float = _PAUSE) -> None:
        #: host and port, or the path of a socket
        self._target = target
        self._pause = pause
        self._drips = threading.Event()
        #: seconds that an answer is held back
        self._late = 0.0
        self._over = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]

    @contextlib.contextmanager
    def dripping(self) -> Iterator[None]:
        """Let each byte of an answer wait for the time of a block."""
        self._drips.set()
        try:
            yield
        finally:
            self._drips.clear()

    @contextlib.contextmanager
    def late(self, seconds: float) -> Iterator[None]:
        """Hold every answer back for so long, for the time of a block."""
        self._late = seconds
        try:
            yield
        finally:
            self._late = 0.0

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Refuse connections for the time of a block, as a server does that is started again."""
        self._hang_up()
        try:
            yield
        finally:
            self._listener = self._listen(self.port)

    def close(self) -> None:
        """End every connection."""
        self._over.set()
        self._hang_up()

    def _hang_up(self) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        self._start(self._accept, listener)
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET)
                self._open += [client, server]
                server.connect(self._target)
                asked: list[bool] = []
                self._start(self._pass, client, server, asked)
                self._start(self._drip, server, client, asked)

    def _pass(self, source: socket.socket, target: socket.socket, asked: list[bool]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                asked.append(True)
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def _drip(self, source: socket.socket, target: socket.socket, asked: list[bool]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                drips = self._drips.is_set()
                # only the first part of an answer
                held, asked[:] = asked and self._late, []
                if held and self._over.wait(held):
                    return
                for piece in (data[at : at + 1] for at in range(len(data))) if drips else (data,):
                    if drips and self._over.wait(self._pause):
                        return
                    target.sendall(piece)
            target.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _start(work: Callable[..., None], *args: object) -> None:
        threading.Thread(target=work, args=args, daemon=True).start()
