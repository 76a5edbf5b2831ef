"""Where Redis is, and how a connection to it is opened."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

import attrs
import hiredis

from qcore_redis import error_mapping

if TYPE_CHECKING:
    from collections.abc import Callable

#: seconds for a connection, and for an answer beyond the time it was asked to wait
PATIENCE: Final = 5.0
#: seconds between signs of life on a silent connection, and how many may be missed
KEEPALIVE: Final = (15, 5, 3)


@attrs.frozen
class Opened:
    """A connection that is ready for commands."""

    socket: socket.socket
    close: Callable[[], object]


class Address(ABC):
    """A server that connections lead to, described without its password."""

    def __init__(self, keywords: dict[str, Any], title: str) -> None:
        self.title = title
        #: seconds an answer may take
        self.timeout = float(keywords.get("socket_timeout") or PATIENCE)
        self._patience = float(keywords.get("socket_connect_timeout") or PATIENCE)
        self._keywords = keywords

    @abstractmethod
    def open(self, key: bytes) -> Opened:
        """Return a new connection to the server that has `key`.

        Raises:
            BackendUnavailable: it does not answer.
            BackendRejected: it does not let us in.

        """

    def forget(self) -> None:
        """Look anew which server it is, next time."""


class Server(Address):
    """One server, at an address or a socket, without TLS."""

    def open(self, key: bytes) -> Opened:
        """Connect; redis-py is not needed for it, and its import takes longer than many a task."""
        del key
        told = self._keywords
        try:
            made = self._connect(told)
        except OSError as exc:
            raise error_mapping.lost(exc, self.title) from exc
        try:
            self._enter(made, told)
        except OSError as exc:
            made.close()
            raise error_mapping.lost(exc, self.title) from exc
        except BaseException:
            made.close()
            raise
        return Opened(made, made.close)

    def _connect(self, told: dict[str, Any]) -> socket.socket:
        if path := told.get("unix_socket_path"):
            made = socket.socket(socket.AF_UNIX)
            try:
                made.settimeout(self._patience)
                made.connect(path)
            except BaseException:
                made.close()
                raise
            return made
        address = (told.get("host", "localhost"), int(told.get("port", 6379)))
        made = socket.create_connection(address, self._patience)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if told.get("socket_keepalive", True):
            keep_alive(made)
        return made

    def _enter(self, made: socket.socket, told: dict[str, Any]) -> None:
        commands: list[tuple[str, ...]] = []
        if told.get("password"):
            user = (told["username"],) if told.get("username") else ()
            commands.append(("AUTH", *user, told["password"]))
        if told.get("db"):
            commands.append(("SELECT", str(told["db"])))
        if told.get("client_name"):
            commands.append(("CLIENT", "SETNAME", told["client_name"]))
        reader = hiredis.Reader()
        for command in commands:
            made.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]  # it is typed for one word
            while (reply := reader.gets()) is False:
                piece = made.recv(65536)
                if not piece:
                    raise ConnectionResetError("it closed the connection")
                reader.feed(piece)
            if isinstance(reply, hiredis.ReplyError):
                raise error_mapping.refused(reply, self.title)


def keep_alive(made: socket.socket) -> None:
    """Notice a peer that is gone without a word."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in zip(("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), KEEPALIVE, strict=True):
        # not every system has all of them
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
