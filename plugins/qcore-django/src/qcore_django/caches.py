"""Finds caches of the site, and makes the `redis` section of one."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from django.conf import settings

from qcore.errors import ConfigError
from qcore_text import wording

if TYPE_CHECKING:
    from collections.abc import Mapping

#: options of both back ends, in small letters -> keys of the section
_OPTIONS: Final = {
    "db": "db",
    "username": "username",
    "password": "password",
    "socket_timeout": "socket_timeout",
    "socket_connect_timeout": "socket_connect_timeout",
    "socket_keepalive": "socket_keepalive",
    "client_name": "client_name",
    "max_connections": "max_connections",
}
#: what redis-py takes for a level of verification -> its name
_CERT_REQS: Final = {
    None: "none",
    ssl.CERT_NONE: "none",
    ssl.CERT_OPTIONAL: "optional",
    ssl.CERT_REQUIRED: "required",
}
#: the scheme of a server that is reached by sentinels
_SENTINEL: Final = "redis+sentinel"


def redis_of(alias: object) -> dict[str, Any] | str:
    """Return the `redis` section that leads where a cache does.

    Taken are address, database, user, password, time limits and TLS: of django-redis, sentinels
    included, and of Django's own back end. Prefixes, serializers and compressors are the cache's.

    Raises:
        ConfigError: there is no such cache, or it is not in a Redis.

    """
    cache = _named("django_redis", alias)
    location = _first(cache.get("LOCATION"))
    if not location or "://" not in location:
        remedy = "name a cache of django-redis or of Django's own back end for Redis, or set redis instead"
        raise ConfigError(
            [f"django_redis: got {alias!r}; the LOCATION of this cache is not a URL of a Redis: {remedy}"]
        )
    given = cache.get("OPTIONS") or {}
    found = _options(given)
    if sentinels := given.get("SENTINELS"):
        return _by_sentinels(location, sentinels, found)
    # As redis-py has it: what the URL says counts for more than the options.
    for key in _said_by(location) & found.keys():
        del found[key]
    return {**found, "url": location}


def check_cache(table: Mapping[str, Any]) -> None:
    """See that there is the cache that the key `cache` names.

    Raises:
        ConfigError: there is none.

    """
    if (alias := table.get("cache")) is not None:
        _named("cache", alias)


def _named(key: str, alias: object) -> Mapping[str, Any]:
    caches = settings.CACHES
    if not isinstance(alias, str) or alias not in caches:
        hint = wording.did_you_mean(str(alias), caches) or f"; CACHES has {wording.listed(caches)}"
        raise ConfigError([f"{key}: got {alias!r}; there is no cache of this name{hint}"])
    found: Mapping[str, Any] = caches[alias]
    return found


def _first(location: object) -> str:
    """Return where the cache is written: the first of several addresses; the others are replicas."""
    if isinstance(location, list | tuple):
        location = location[0] if location else ""
    return re.split("[;,]", str(location or ""))[0].strip()


def _said_by(location: str) -> set[str]:
    parts = urlsplit(location)
    said = {"username": parts.username, "password": parts.password, "db": parts.path.strip("/")}
    return {key for key, value in said.items() if value}


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    pool = {**given.get("CONNECTION_POOL_KWARGS", {}), **given.get("REDIS_CLIENT_KWARGS", {})}
    said = {str(key).lower(): value for key, value in [*pool.items(), *given.items()]}
    if "ssl_cert_reqs" in said:
        reqs = said["ssl_cert_reqs"]
        said["ssl_cert_reqs"] = reqs if isinstance(reqs, str) else _CERT_REQS[reqs]
    return {
        key: said[name]
        for name, key in [*_OPTIONS.items(), *((name, name) for name in said if name.startswith("ssl"))]
        if said.get(name) is not None
    }


def _by_sentinels(location: str, sentinels: Any, found: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - a list of pairs
    """Return the section for a LOCATION that names a service, and the sentinels that know where it is."""
    parts = urlsplit(location)
    nodes = ",".join(f"{host}:{port}" for host, port in sentinels)
    who = _credentials(unquote(parts.username or ""), unquote(parts.password or ""))
    path = f"/{parts.hostname}/{parts.path.strip('/') or found.pop('db', 0)}"
    query = urlencode({"ssl": "true"}) if parts.scheme == "rediss" else ""
    return {**found, "url": urlunsplit((_SENTINEL, f"{who}{nodes}", path, query, ""))}


def _credentials(user: str, password: str) -> str:
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
