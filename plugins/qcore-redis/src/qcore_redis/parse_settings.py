"""The key `redis`, a table or a URL, into a place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from qcore.errors import BackendRejected
from qcore_redis.address import OWN, Server
from qcore_redis.nodes import Sharded
from qcore_redis.settings import RedisSettings

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from qcore_redis.address import Address

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
        *OWN,
    }
)
_SCHEMES: Final = ("redis", "redis+cluster", "redis+sentinel", "rediss", "rediss+cluster", "unix")


def find(section: object) -> Address:
    """Return the place that the key `redis` describes.

    Raises:
        BackendRejected: the URL cannot be read.

    """
    settings = section if isinstance(section, RedisSettings) else RedisSettings()
    text = section if isinstance(section, str) else settings.url
    if not text:
        return server(settings.keywords())
    try:
        return _by_url(urlsplit(text), settings.keywords())
    except ValueError:
        # the error below it would show the password
        raise BackendRejected(
            "`redis`: the URL cannot be read; write redis://user:password@host:port/db"
        ) from None


def server(keywords: dict[str, Any]) -> Address:
    """Return the server that these keywords of redis-py lead to."""
    where = (
        keywords.get("unix_socket_path")
        or f"{keywords.get('host', 'localhost')}:{keywords.get('port', 6379)}"
    )
    title = f"{where}/{keywords.get('db', 0)}"
    if keywords.keys() <= _PLAIN:
        return Server(keywords, title)
    from qcore_redis import connections  # noqa: PLC0415 - it imports redis-py

    return connections.Secure(keywords, title)


def _by_url(url: SplitResult, keywords: dict[str, Any]) -> Address:
    if url.scheme not in _SCHEMES:
        raise BackendRejected(
            f"`redis`: a URL cannot begin with {url.scheme!r}; it begins with {', '.join(_SCHEMES)}"
        )
    options = {**_user(url), **_query(url), **keywords}
    if url.scheme.startswith("rediss"):
        options["ssl"] = True
    nodes = [_node(part, url.scheme) for part in url.netloc.rpartition("@")[2].split(",")]
    path = unquote(url.path)
    if "+" not in url.scheme:
        if url.scheme == "unix":
            return server({"unix_socket_path": path, **options})
        number = int(path.strip("/") or 0)
        host, port = nodes[0]
        return server({"host": host, "port": port, **({"db": number} if number else {}), **options})
    if url.scheme == "redis+sentinel":
        from qcore_redis import connections  # noqa: PLC0415 - it imports redis-py

        service, _, number_text = path.strip("/").partition("/")
        if not service:
            raise BackendRejected(
                "`redis`: the URL names no service; write redis+sentinel://host:port,host:port/service/db"
            )
        return connections.Watched(nodes, service, {"db": int(number_text or 0), **options})
    return Sharded(nodes, options, server)


def _user(url: SplitResult) -> dict[str, Any]:
    user, _, password = url.netloc.rpartition("@")[0].partition(":")
    options = {"username": unquote(user), "password": unquote(password)}
    return {key: value for key, value in options.items() if value}


def _query(url: SplitResult) -> dict[str, Any]:
    """Return the keywords behind the `?`, as the table would have them."""
    fields = {field.name: field for field in attrs.fields(RedisSettings)}
    options: dict[str, Any] = {}
    for key, text in parse_qsl(url.query):
        if key not in fields or key == "url":
            raise BackendRejected(f"`redis`: the URL says {key!r}, which is not a keyword of redis-py's here")
        kind = str(fields[key].type)
        value: Any = text
        if kind.startswith("bool"):
            value = text.lower() in ("1", "true", "yes", "on")
        elif kind.startswith(("int", "float")):
            value = int(text) if kind.startswith("int") else float(text)
        options[key] = value
    return RedisSettings(**options).keywords()


def _node(text: str, scheme: str) -> tuple[str, int]:
    usual = 26379 if "sentinel" in scheme else 6379
    host, colon, number = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, number = text, str(usual)
    return host.strip("[]") or "localhost", int(number or usual)
