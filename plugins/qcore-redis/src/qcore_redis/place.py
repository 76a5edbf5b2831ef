"""Where Redis is: one server, a watched primary, a cluster's node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from qcore.errors import BackendRefused
from qcore_redis import faults
from qcore_redis.settings import RedisSettings

if TYPE_CHECKING:
    from urllib.parse import SplitResult

#: seconds for a connection, and for an answer beyond the time it was asked to wait
PATIENCE: Final = 5.0
_SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "rediss+cluster")


class Place:
    """A server that connections lead to, described without its password."""

    #: seconds an answer may take
    timeout = PATIENCE

    def __init__(self, keywords: dict[str, Any], title: str) -> None:
        self.title = title
        self.timeout = float(keywords.get("socket_timeout") or PATIENCE)
        self._keywords = {
            "socket_connect_timeout": PATIENCE,
            "socket_keepalive": True,
            **keywords,
            "socket_timeout": self.timeout,
            # answers are read by us, and nothing is sent twice
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
        }

    @classmethod
    def of(cls, section: object) -> Place:
        """Return the place that the key `redis` describes.

        Raises:
            BackendRefused: the URL cannot be read.

        """
        settings = section if isinstance(section, RedisSettings) else RedisSettings()
        url = section if isinstance(section, str) else settings.url
        if not url:
            return Server.at(settings.keywords())
        return _by_url(url, settings.keywords())

    def connect(self, key: bytes) -> Any:  # noqa: ANN401 - a connection of redis-py
        """Return a new connection to the server that has `key`."""
        try:
            connection = self._client(key).connection_pool.make_connection()
            connection.connect()
        except redis.AuthenticationError as exc:
            raise faults.refused(_code(exc, "WRONGPASS"), self.title) from exc
        except redis.exceptions.BusyLoadingError as exc:
            raise faults.refused(_code(exc, "LOADING"), self.title) from exc
        except (redis.ConnectionError, redis.TimeoutError, OSError) as exc:
            raise faults.lost(exc, self.title) from exc
        except redis.RedisError as exc:
            raise faults.refused(exc, self.title) from exc
        return connection

    def forget(self) -> None:
        """Look anew which server it is, next time."""

    def _client(self, key: bytes) -> Any:  # noqa: ANN401 - a client of redis-py
        raise AssertionError(key)


class Server(Place):
    """One server, at an address or a socket."""

    @classmethod
    def at(cls, keywords: dict[str, Any]) -> Self:
        """Return the server that these keywords of redis-py lead to."""
        path, number = keywords.get("unix_socket_path"), keywords.get("db", 0)
        where = path or f"{keywords.get('host', 'localhost')}:{keywords.get('port', 6379)}"
        return cls(keywords, f"{where}/{number}")

    def _client(self, key: bytes) -> Any:  # noqa: ANN401 - as above
        del key
        return redis.Redis(**self._keywords)


class Watched(Place):
    """The primary that sentinels name."""

    def __init__(self, url: SplitResult, keywords: dict[str, Any]) -> None:
        service, _, number = url.path.strip("/").partition("/")
        if not service:
            raise BackendRefused(
                "`redis`: the URL names no service; write redis+sentinel://host:port,host:port/service/db"
            )
        hosts = [_host(part, 26379) for part in url.netloc.rpartition("@")[2].split(",")]
        super().__init__({"db": int(number or 0), **_user(url), **keywords}, f"{service}/{number or 0}")
        self._service = service
        options = {key: self._keywords[key] for key in ("socket_connect_timeout", "socket_timeout", "retry")}
        self._sentinel = Sentinel(hosts, {**options, "protocol": 2})  # type: ignore[no-untyped-call]  # as below

    def _client(self, key: bytes) -> Any:  # noqa: ANN401 - as above
        del key
        host, port = self._sentinel.discover_master(self._service)  # type: ignore[no-untyped-call]  # as below
        return redis.Redis(**{**self._keywords, "host": host, "port": port})


class Sharded(Place):
    """The node of a cluster that has this queue."""

    def __init__(self, url: SplitResult, keywords: dict[str, Any]) -> None:
        self._nodes = [_host(part, 6379) for part in url.netloc.rpartition("@")[2].split(",")]
        title = ",".join(f"{host}:{port}" for host, port in self._nodes)
        secure = {"ssl": True} if url.scheme.startswith("rediss") else {}
        super().__init__({**secure, **_user(url), **keywords}, title)
        self._keywords.pop("db", None)
        self._cluster: Any = None

    def forget(self) -> None:
        """Ask the cluster anew where the queue is."""
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    def _client(self, key: bytes) -> Any:  # noqa: ANN401 - as above
        if self._cluster is None:
            nodes = [ClusterNode(*one) for one in self._nodes]  # type: ignore[no-untyped-call]  # as below
            self._cluster = RedisCluster(startup_nodes=nodes, **self._keywords)
        node = self._cluster.get_node_from_key(key)
        return redis.Redis(**{**self._keywords, "host": node.host, "port": node.port})


def _by_url(text: str, keywords: dict[str, Any]) -> Place:
    url = urlsplit(text)
    if url.scheme not in _SCHEMES:
        raise BackendRefused(
            f"`redis`: a URL cannot begin with {url.scheme!r}; it begins with {', '.join(sorted(_SCHEMES))}"
        )
    try:
        if url.scheme == "redis+sentinel":
            return Watched(url, {**_query(url), **keywords})
        if url.scheme.endswith("+cluster"):
            return Sharded(url, {**_query(url), **keywords})
        return _plain(url, keywords)
    except ValueError as exc:
        raise BackendRefused(
            "`redis`: the URL cannot be read; write redis://user:password@host:port/db"
        ) from exc


def _plain(url: SplitResult, keywords: dict[str, Any]) -> Server:
    found = _parse(urlunsplit(url))
    secure = found.pop("connection_class", None) is redis.SSLConnection
    if "path" in found:
        found["unix_socket_path"] = found.pop("path")
    for unused in ("decode_responses", "encoding", "encoding_errors", "max_connections", "retry_on_timeout"):
        found.pop(unused, None)
    return Server.at({**({"ssl": True} if secure else {}), **found, **keywords})


def _query(url: SplitResult) -> dict[str, Any]:
    told = urlunsplit(("redis", "", "", url.query, ""))
    return {key: value for key, value in _parse(told).items() if key != "connection_class"}


def _parse(text: str) -> dict[str, Any]:
    return dict(redis.connection.parse_url(text))  # type: ignore[no-untyped-call]  # it has no types


def _user(url: SplitResult) -> dict[str, Any]:
    user, _, password = url.netloc.rpartition("@")[0].partition(":")
    told = {"username": unquote(user), "password": unquote(password)}
    return {key: value for key, value in told.items() if value}


def _host(text: str, port: int) -> tuple[str, int]:
    host, colon, number = text.rpartition(":")
    return (host.strip("[]") or "localhost", int(number)) if colon else (text or "localhost", port)


def _code(error: BaseException, word: str) -> Exception:
    """Return the error with the server's word for it, which redis-py has taken off."""
    return Exception(f"{word} {error}")
