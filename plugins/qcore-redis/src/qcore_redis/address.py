"""Where Redis is, and how a connection to it is opened."""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from typing import Any, Final

import hiredis

from qcore_redis import error_mapping
from qcore_redis.connection import Connection
from qcore_redis.pool import MOST

#: seconds for a connection, and for a call beyond the time it was asked to wait
CONNECT_TIMEOUT: Final = 5.0
#: seconds that replicas get to confirm, unless `wait_replicas_timeout` says otherwise
CONFIRM: Final = 1.0
#: seconds between signs of life on a silent connection, and how many may be missed
KEEPALIVE: Final = (15, 5, 3)
#: keywords that are ours, not redis-py's
OWN: Final = ("max_connections", "wait_replicas", "wait_replicas_timeout")


class Address(ABC):
    """A server that connections lead to, described without its password."""

    #: whether it can go where a cluster says the queue is
    follows = False

    def __init__(self, keywords: dict[str, Any], title: str) -> None:
        self.title = title
        #: seconds a whole call may take
        self.timeout = float(keywords.get("socket_timeout") or CONNECT_TIMEOUT)
        #: seconds of it in which a cluster that is being changed is asked again
        self.connect_timeout = self.timeout
        #: connections of one process
        self.most = int(keywords.get("max_connections") or MOST)
        #: replicas that must have what is enqueued, and the seconds they get
        self.replicas = int(keywords.get("wait_replicas") or 0)
        self.replicas_timeout = float(keywords.get("wait_replicas_timeout") or CONFIRM)
        self._connect_timeout = float(keywords.get("socket_connect_timeout") or CONNECT_TIMEOUT)
        self._keywords = {name: value for name, value in keywords.items() if name not in OWN}

    @abstractmethod
    def open(self, key: bytes, deadline: float) -> Connection:
        """Return a new connection to the server that has `key`.

        Raises:
            BackendUnavailable: it does not answer.
            BackendRejected: it does not let us in.

        """

    def identity(self, key: bytes) -> tuple[object, ...]:
        """Return what is equal for places whose connections serve each other."""
        del key
        options = {name: value for name, value in self._keywords.items() if not name.endswith("_timeout")}
        return (type(self), self.title, repr(sorted(options.items())), self.most)

    def forget(self) -> None:
        """Look anew which server it is, next time."""

    def lead(self, node: str) -> None:
        """Take note that a cluster has the queue at `node`, as `host:port`."""

    def at(self, node: str, deadline: float) -> Connection | None:
        """Return a connection to another node of the cluster, None where there is none."""
        del node, deadline
        return None


class Server(Address):
    """One server, at an address or a socket, without TLS."""

    def open(self, key: bytes, deadline: float) -> Connection:
        """Connect; redis-py is not needed for it, and its import takes longer than many a task."""
        del key
        options = self._keywords
        try:
            made = self._connect(options, deadline)
        except OSError as exc:
            raise error_mapping.lost(exc, self.title) from exc
        connection = Connection(made, made.close)
        try:
            self._enter(connection, options, deadline)
        except OSError as exc:
            connection.close()
            raise error_mapping.lost(exc, self.title) from exc
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, options: dict[str, Any], deadline: float) -> socket.socket:
        seconds = min(self._connect_timeout, deadline - time.monotonic())
        if seconds <= 0:
            raise TimeoutError("timed out")
        if path := options.get("unix_socket_path"):
            made = socket.socket(socket.AF_UNIX)
            try:
                made.settimeout(seconds)
                made.connect(path)
            except BaseException:
                made.close()
                raise
            return made
        address = (options.get("host", "localhost"), int(options.get("port", 6379)))
        made = socket.create_connection(address, seconds)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if options.get("socket_keepalive", True):
            keep_alive(made)
        return made

    def _enter(self, connection: Connection, options: dict[str, Any], deadline: float) -> None:
        commands: list[tuple[str, ...]] = []
        if options.get("password"):
            user = (options["username"],) if options.get("username") else ()
            commands.append(("AUTH", *user, options["password"]))
        if options.get("db"):
            commands.append(("SELECT", str(options["db"])))
        if options.get("client_name"):
            commands.append(("CLIENT", "SETNAME", options["client_name"]))
        for command in commands:
            reply = connection.ask(command, deadline)
            if isinstance(reply, hiredis.ReplyError):
                raise error_mapping.refused(reply, self.title)


def keep_alive(made: socket.socket) -> None:
    """Notice a peer that is gone without a word."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in zip(("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), KEEPALIVE, strict=True):
        # not every system has all of them
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
