"""Where Redis is, and how a connection to it is opened."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import hiredis

from qcore.errors import BackendRefused
from qcore_redis import faults
from qcore_redis.settings import RedisSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from urllib.parse import SplitResult

#: seconds for a connection, and for an answer beyond the time it was asked to wait
PATIENCE: Final = 5.0
#: seconds between signs of life on a silent connection, and how many may be missed
KEEPALIVE: Final = (15, 5, 3)
#: what is understood here; redis-py is asked for the rest
_PLAIN: Final = frozenset(
    {
        "host",
        "port",
        "db",
        "username",
        "password",
        "unix_socket_path",
        "socket_timeout",
        "socket_connect_timeout",
        "socket_keepalive",
        "client_name",
    }
)
_SCHEMES: Final = ("redis", "redis+cluster", "redis+sentinel", "rediss", "rediss+cluster", "unix")


@attrs.frozen
class Opened:
    """A connection that is ready for commands."""

    socket: socket.socket
    close: Callable[[], object]


class Place(ABC):
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
            BackendRefused: it does not let us in.

        """

    def forget(self) -> None:
        """Look anew which server it is, next time."""


class Server(Place):
    """One server, at an address or a socket, without TLS."""

    def open(self, key: bytes) -> Opened:
        """Connect; redis-py is not needed for it, and its import takes longer than many a task."""
        del key
        told = self._keywords
        try:
            made = self._connect(told)
        except OSError as exc:
            raise faults.lost(exc, self.title) from exc
        try:
            self._enter(made, told)
        except OSError as exc:
            made.close()
            raise faults.lost(exc, self.title) from exc
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
                raise faults.refused(reply, self.title)


def keep_alive(made: socket.socket) -> None:
    """Notice a peer that is gone without a word."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in zip(("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), KEEPALIVE, strict=True):
        # not every system has all of them
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def find(section: object) -> Place:
    """Return the place that the key `redis` describes.

    Raises:
        BackendRefused: the URL cannot be read.

    """
    settings = section if isinstance(section, RedisSettings) else RedisSettings()
    text = section if isinstance(section, str) else settings.url
    if not text:
        return server(settings.keywords())
    try:
        return _by_url(urlsplit(text), settings.keywords())
    except ValueError:
        # the error below it would show the password
        raise BackendRefused(
            "`redis`: the URL cannot be read; write redis://user:password@host:port/db"
        ) from None


def server(keywords: dict[str, Any]) -> Place:
    """Return the server that these keywords of redis-py lead to."""
    where = (
        keywords.get("unix_socket_path")
        or f"{keywords.get('host', 'localhost')}:{keywords.get('port', 6379)}"
    )
    title = f"{where}/{keywords.get('db', 0)}"
    if keywords.keys() <= _PLAIN:
        return Server(keywords, title)
    from qcore_redis import elsewhere  # noqa: PLC0415 - it imports redis-py

    return elsewhere.Secure(keywords, title)


def _by_url(url: SplitResult, keywords: dict[str, Any]) -> Place:
    if url.scheme not in _SCHEMES:
        raise BackendRefused(
            f"`redis`: a URL cannot begin with {url.scheme!r}; it begins with {', '.join(_SCHEMES)}"
        )
    told = {**_user(url), **_query(url), **keywords}
    if url.scheme.startswith("rediss"):
        told["ssl"] = True
    nodes = [_node(part, url.scheme) for part in url.netloc.rpartition("@")[2].split(",")]
    path = unquote(url.path)
    if "+" not in url.scheme:
        if url.scheme == "unix":
            return server({"unix_socket_path": path, **told})
        number = int(path.strip("/") or 0)
        host, port = nodes[0]
        return server({"host": host, "port": port, **({"db": number} if number else {}), **told})
    from qcore_redis import elsewhere  # noqa: PLC0415 - it imports redis-py

    if url.scheme == "redis+sentinel":
        service, _, number_text = path.strip("/").partition("/")
        if not service:
            raise BackendRefused(
                "`redis`: the URL names no service; write redis+sentinel://host:port,host:port/service/db"
            )
        return elsewhere.Watched(nodes, service, {"db": int(number_text or 0), **told})
    return elsewhere.Sharded(nodes, told)


def _user(url: SplitResult) -> dict[str, Any]:
    user, _, password = url.netloc.rpartition("@")[0].partition(":")
    told = {"username": unquote(user), "password": unquote(password)}
    return {key: value for key, value in told.items() if value}


def _query(url: SplitResult) -> dict[str, Any]:
    """Return the keywords behind the `?`, as the table would have them."""
    fields = {field.name: field for field in attrs.fields(RedisSettings)}
    told: dict[str, Any] = {}
    for key, text in parse_qsl(url.query):
        if key not in fields or key == "url":
            raise BackendRefused(f"`redis`: the URL says {key!r}, which is no keyword of redis-py's here")
        kind = str(fields[key].type)
        value: Any = text
        if kind.startswith("bool"):
            value = text.lower() in ("1", "true", "yes", "on")
        elif kind.startswith(("int", "float")):
            value = int(text) if kind.startswith("int") else float(text)
        told[key] = value
    return RedisSettings(**told).keywords()


def _node(text: str, scheme: str) -> tuple[str, int]:
    usual = 26379 if "sentinel" in scheme else 6379
    host, colon, number = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, number = text, str(usual)
    return host.strip("[]") or "localhost", int(number or usual)
