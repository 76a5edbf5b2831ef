"""Decides how one node is asked, and what counts as an answer."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from qcore.errors import ConfigError
from qcore_disque import error_mapping
from qcore_disque.deadline import DeadlineConnection

if TYPE_CHECKING:
    from collections.abc import Sequence

#: port of a node that names none
_PORT: Final = 7711
#: seconds a connection or an answer may take, where nobody says otherwise
TIMEOUT: Final = 5.0
#: hex digits of a node's id that stand in the ids of its jobs
PREFIX: Final = 8

#: what nodes call themselves, and addresses they may give of each other
_NODE_ID: Final = re.compile(r"[0-9a-f]{40}")
_HOST: Final = re.compile(r"[A-Za-z0-9_.:-]{0,255}")

#: what redis-py raises for bytes that are not a reply
_UNREADABLE: Final = (
    redis.RedisError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
)

#: one command: its words
Command = tuple[bytes | str | float, ...]


class Address(NamedTuple):
    """Where a node listens."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> Address:
        """Read `host:port`, or a host alone."""
        host, colon, port = text.strip().rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()):
            host, port = text.strip(), str(_PORT)
        if not _is_port(port):
            raise ConfigError([f"disque_nodes: got {text[:80]!r}; its port must be 1 to 65535"])
        return cls(host.strip("[]") or "localhost", int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Node:
    """A connection to one node.

    Nothing is sent twice: a job that is added again would be there twice. Disque speaks the
    protocol of Redis in its second version, and has a HELLO of its own.
    """

    def __init__(self, address: Address, auth: str | None, timeout: float = TIMEOUT) -> None:
        self.address = address
        self.title = str(address)
        #: what it calls itself
        self.id = b""
        self._closed = False
        self._timeout = timeout
        #: it and the other nodes of its cluster, by id, as it said last
        self.members: dict[bytes, Address] = {}
        #: Any: redis-py has no types for what it is asked here
        make: Any = DeadlineConnection
        self._connection: Any = make(
            host=address.host,
            port=address.port,
            protocol=2,
            password=auth,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            self._connection.connect()
            self.meet()
        except redis.AuthenticationError as exc:
            self.close()
            raise error_mapping.refused(_plain(exc), self.title) from exc
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            self.close()
            raise
        except _UNREADABLE as exc:
            self.close()
            raise error_mapping.stranger(self.title, f"its greeting is not a reply: {exc!r}") from exc
        except BaseException:
            self.close()
            raise

    @property
    def prefix(self) -> bytes:
        """Return the part of its id that the ids of its jobs contain."""
        return self.id[:PREFIX]

    def meet(self) -> None:
        """Ask who the nodes of the cluster are."""
        (hello,) = self.exchange([(b"HELLO",)])
        checked(hello, self.title)
        nodes = hello[2:] if isinstance(hello, list) else []
        found = [one for node in nodes if (one := _introduced(node, self.address.host))]
        if not isinstance(hello, list) or hello[1:2] not in [[id_] for id_, _ in found]:
            raise error_mapping.stranger(self.title, "its HELLO names no nodes")
        self.id = hello[1]
        # whoever is asked may not know under which address it is reached
        self.members = {**dict(found), self.id: self.address}

    def exchange(
        self, commands: Sequence[Command], timeout: float | None = None, unknown_outcome: str = ""
    ) -> list[Any]:
        """Send commands in one go; return their replies, errors as objects.

        All of it takes `timeout` seconds at most, by default the node's, however slowly the answer comes.
        """
        timeout = self._timeout if timeout is None else timeout
        connection = self._connection
        connection.limit(timeout)
        try:
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            return [self._read(timeout) for _ in commands]
        except (redis.ConnectionError, redis.TimeoutError, OSError) as exc:
            self.close()
            raise error_mapping.lost(exc, self.title, unknown_outcome=unknown_outcome) from exc
        except _UNREADABLE as exc:
            # what redis-py raises for bytes that are not a reply depends on what they are
            self.close()
            raise error_mapping.stranger(self.title, f"its answer is not a reply: {exc!r}") from exc
        except BaseException:
            # a signal came in the middle of an answer: what is still to come belongs to no question
            self.close()
            raise

    def is_there(self) -> bool:
        """Return whether it may be used; one that was closed in silence would swallow what is sent."""
        if self._closed:
            # redis-py would connect again, without HELLO and at once after each failure
            return False
        try:
            # nobody owes us anything: what can be read now is its end
            return not self._connection.can_read(timeout=0)
        except (redis.RedisError, OSError):
            return False

    def close(self) -> None:
        """Hang up for good."""
        self._closed = True
        with contextlib.suppress(OSError, redis.RedisError):
            self._connection.disconnect()

    def _read(self, timeout: float) -> Any:  # noqa: ANN401 - a reply of any kind
        try:
            return self._connection.read_response(timeout=timeout, disable_decoding=True)
        except redis.AuthenticationError as exc:
            # redis-py cuts its first word off and hangs up: what else was asked is not answered
            raise error_mapping.refused(_plain(exc), self.title) from exc
        except redis.ResponseError as exc:
            return exc


def checked(reply: Any, title: str) -> Any:  # noqa: ANN401 - a reply of any kind
    """Return a reply that is not an error."""
    if isinstance(reply, redis.ResponseError):
        raise error_mapping.refused(reply, title) from None
    return reply


def _introduced(node: Any, host: str) -> tuple[bytes, Address] | None:  # noqa: ANN401 - what HELLO says
    """Return id and address of a node; one that knows no address of its own is where we asked."""
    if not (isinstance(node, list) and len(node) >= 3 and all(isinstance(word, bytes) for word in node)):
        return None
    id_, name, port = (word.decode("ascii", "replace") for word in node[:3])
    if not (_NODE_ID.fullmatch(id_) and _HOST.fullmatch(name) and _is_port(port)):
        return None
    return node[0], Address(name or host, int(port))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65_535


def _plain(error: BaseException) -> str:
    text = str(error)
    # redis-py cuts the first word off the errors it knows
    if text.startswith("Authentication required"):
        return f"NOAUTH {text}"
    return f"ERR {text}" if text.startswith(("invalid", "Client sent")) else text
