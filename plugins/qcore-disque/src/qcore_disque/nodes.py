"""Decides which node is spoken to, and what follows its loss."""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from qcore.errors import BackendError, BackendRefused
from qcore_disque import faults

if TYPE_CHECKING:
    from collections.abc import Sequence
#: port of a node that names none
_PORT: Final = 7711
#: seconds a connection or an answer may take
_TIMEOUT: Final = 5.0
#: seconds a node that takes nothing is not chosen while there is another
_AVOIDED: Final = 10.0


class Nodes:
    """A connection to one node of a cluster, chosen at random; to another when it is gone.

    Nothing is sent twice: a job that is added again would be there twice. Disque speaks the
    protocol of Redis in its second version, and has a HELLO of its own.
    """

    def __init__(self, nodes: Sequence[str], auth: str | None) -> None:
        self._nodes = [_address(node) for node in nodes]
        self._auth = auth
        #: Any: redis-py has no types for what it is asked here
        self._connection: Any = None
        self._closed = False
        #: the nodes, for messages; never with the password
        self.title = ",".join(f"{host}:{port}" for host, port in self._nodes)
        #: the node spoken to last
        self.place = self.title
        #: of the nodes of the cluster, as the last one told
        self._ids: set[bytes] = set()
        #: until when a node is not chosen
        self._avoided: dict[str, float] = {}

    def cluster(self) -> str | None:
        """Return what all nodes of the cluster name it alike; None if none answers."""
        with contextlib.suppress(BackendError):
            self._open()
        return b",".join(sorted(self._ids)).decode() or None

    def call(self, *words: bytes | str | float, doubt: str = "") -> Any:  # noqa: ANN401 - a reply of any kind
        """Send a command and return its reply."""
        return self._checked(self._exchange([words], _TIMEOUT, doubt)[0])

    def block(self, *words: bytes | str | float, seconds: float) -> Any:  # noqa: ANN401 - as above
        """Send a command that waits up to `seconds` in the server."""
        return self._checked(self._exchange([words], seconds + _TIMEOUT, "")[0])

    def many(self, commands: Sequence[tuple[bytes | str | float, ...]], doubt: str = "") -> list[Any]:
        """Send commands in one go; return their replies, errors as objects."""
        return self._exchange(commands, _TIMEOUT, doubt) if commands else []

    def refused(self, reply: redis.ResponseError) -> BackendError:
        """Return the error to raise for one of the replies; the node is left if it takes nothing.

        What has to be undone on that node is undone before.
        """
        error = faults.refused(reply, self.place)
        if faults.is_of_node(reply):
            self._avoided[self.place] = time.monotonic() + _AVOIDED
            self._drop()
        return error

    def close(self) -> None:
        """Give the connection up for good."""
        self._drop()
        self._closed = True

    def _exchange(
        self, commands: Sequence[tuple[bytes | str | float, ...]], timeout: float, doubt: str
    ) -> list[Any]:
        connection = self._open()
        try:
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            return [self._read(connection, timeout) for _ in commands]
        except (redis.ConnectionError, redis.TimeoutError, OSError) as exc:
            self._drop()
            raise faults.lost(exc, self.place, doubt=doubt) from exc
        except BaseException:
            # a signal came in the middle of an answer: what is still to come belongs to no question
            self._drop()
            raise

    def _read(self, connection: Any, timeout: float) -> Any:  # noqa: ANN401 - as above
        try:
            return connection.read_response(timeout=timeout, disable_decoding=True)
        except redis.ResponseError as exc:
            return exc

    def _checked(self, reply: Any) -> Any:  # noqa: ANN401 - a reply of any kind
        if isinstance(reply, redis.AuthenticationError):
            raise faults.refused("NOAUTH Authentication required.", self.place)
        if isinstance(reply, redis.ResponseError):
            raise self.refused(reply) from None
        return reply

    def _open(self) -> Any:  # noqa: ANN401 - see `_connection`
        if self._connection is not None and self._is_there(self._connection):
            return self._connection
        if self._closed:
            raise BackendRefused(f"this connection to disque at {self.title} was closed; make a new one")
        last: BaseException | None = None
        for host, port in self._order():
            try:
                self._connection = self._connect(host, port)
            except (redis.ConnectionError, redis.TimeoutError, OSError) as exc:
                last = exc
            else:
                return self._connection
        raise faults.lost(last or OSError("no node is known"), self.title) from last

    def _order(self) -> list[tuple[str, int]]:
        """Return the nodes by chance, those that are avoided last."""
        now = time.monotonic()
        chosen = random.sample(self._nodes, len(self._nodes))
        return sorted(chosen, key=lambda node: self._avoided.get(f"{node[0]}:{node[1]}", 0.0) > now)

    def _connect(self, host: str, port: int) -> Any:  # noqa: ANN401 - see `_connection`
        self.place = f"{host}:{port}"
        make: Any = redis.Connection
        connection = make(
            host=host,
            port=port,
            protocol=2,
            password=self._auth,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            connection.connect()
            connection.send_command("HELLO")
            self._ids = _ids(self._checked(self._read(connection, _TIMEOUT)))
        except redis.AuthenticationError as exc:
            _end(connection)
            raise faults.refused(_plain(exc), self.place) from exc
        except BaseException:
            _end(connection)
            raise
        return connection

    def _is_there(self, connection: Any) -> bool:  # noqa: ANN401 - see `_connection`
        """Return whether it may be used; one that was closed in silence would swallow what is sent."""
        try:
            # nobody owes us anything: what can be read now is its end
            there = not connection.can_read(timeout=0)
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            there = False
        if not there:
            self._drop()
        return there

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _end(connection)


def _end(connection: Any) -> None:  # noqa: ANN401 - see `Nodes._connection`
    with contextlib.suppress(OSError, redis.RedisError):
        connection.disconnect()


def _address(node: str) -> tuple[str, int]:
    host, colon, port = node.strip().rpartition(":")
    if not colon or not port.isdigit():
        host, port = node.strip(), str(_PORT)
    return host.strip("[]") or "localhost", int(port)


def _ids(hello: Any) -> set[bytes]:  # noqa: ANN401 - what HELLO says: of Disque, or of who knows what
    nodes = hello[2:] if isinstance(hello, list) else []
    return {node[0] for node in nodes if isinstance(node, list) and node and isinstance(node[0], bytes)}


def _plain(error: BaseException) -> str:
    text = str(error)
    # redis-py cuts the first word off the errors it knows
    if text.startswith("Authentication required"):
        return f"NOAUTH {text}"
    return f"ERR {text}" if text.startswith(("invalid", "Client sent")) else text
