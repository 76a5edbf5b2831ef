"""What `iron_mq` may hold, and where the rest is found."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from qcore.errors import BackendRejected, ConfigError
from qcore_ironmq.proxy_url import wrong as wrong_proxy
from qcore_queues.routes import check_declared

#: taken when nobody says otherwise
_HOST: Final = "mq-aws-us-east-1-1.iron.io"


def _fault(key: str, value: object) -> str:
    """Return what is wrong with a value, nothing if it is right; a token is never shown."""
    if key == "keystone":
        right = _is_keystone(value) and _is_url(str(value["server"]))  # type: ignore[index]  # it is a table
        return "" if right else "must have server (a URL), tenant, username and password, each a text"
    text = str(value)
    if key == "proxy":
        return wrong_proxy(text)
    if key == "token" and not (text.isascii() and text.isprintable() and " " not in text):
        return "must be printable ASCII without whitespace, because it is sent in a header"
    if key == "timeout" and not (isinstance(value, int | float) and 0 < value < float("inf")):
        return f"got {text[:20]!r}; must be a number of seconds above 0"
    if key == "port" and not (re.fullmatch(r"[0-9]{1,5}", text) and 1 <= int(text) <= 65_535):
        return f"got {text[:20]!r}; must be a whole number from 1 to 65535"
    if key == "protocol" and text not in {"http", "https"}:
        return f"got {text[:20]!r}; must be https or http"
    if key == "cloud" and not _is_url(text):
        return "must be a URL such as https://mq.example:443"
    return ""


def _is_keystone(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) and value[key] for key in ("server", "tenant", "username", "password")
    )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _right(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in (None, "") and (fault := _fault(attribute.name, value)):
        raise ValueError(f"{attribute.name}: {fault}")


def _declared(_: object, __: attrs.Attribute[list[str]], value: list[str]) -> None:
    check_declared(value)


@attrs.frozen(kw_only=True)
class IronSettings:
    """The key `iron_mq`: the keywords of the iron-mq client; None = found where that looks."""

    host: str | None = None
    token: str | None = attrs.field(default=None, repr=False, validator=_right)
    project_id: str | None = None
    #: `https` or `http`
    protocol: str | None = attrs.field(default=None, validator=_right)
    port: int | None = attrs.field(default=None, validator=_right)
    api_version: int | None = None
    path_prefix: str | None = None
    #: a URL instead of protocol, host, port and path_prefix
    cloud: str | None = attrs.field(default=None, validator=_right)
    #: a file like iron.json
    config_file: str | None = None
    #: server, tenant, username and password of a Keystone that gives out the tokens
    keystone: dict[str, str] | None = attrs.field(default=None, repr=False, validator=_right)
    #: a URL; None = as HTTPS_PROXY, HTTP_PROXY and NO_PROXY say
    proxy: str | None = attrs.field(default=None, repr=False, validator=_right)
    #: seconds a call may take as a whole, beyond the time it waits for messages
    timeout: float = attrs.field(default=10.0, validator=_right)
    #: queues beside `default`, each with a queue of its own in the project
    queues: list[str] = attrs.field(factory=list, validator=_declared)
    #: tell priorities above 0, 0 and below 0 apart, by a queue of its own for each
    priorities: bool = False
    #: how the client calls itself; taken and not used
    name: str | None = None


@attrs.frozen(kw_only=True)
class ServerAddress:
    """Where a project is."""

    #: without a slash at its end
    url: str
    project_id: str
    #: empty where Keystone gives it out
    token: str = attrs.field(repr=False)
    keystone: dict[str, str] | None = attrs.field(default=None, repr=False)
    proxy: str | None = attrs.field(default=None, repr=False)
    #: seconds a request may take
    timeout: float = 10.0

    @property
    def project(self) -> str:
        """Return what names the project, however its address is written."""
        parts = urlsplit(self.url)
        usual = {"https": 443, "http": 80}.get(parts.scheme)
        where = f"{parts.hostname}:{parts.port}" if parts.port not in {None, usual} else parts.hostname
        # without the version of the interface
        return f"{where}{parts.path.rpartition('/')[0]}/{self.project_id}"

    @classmethod
    def of(cls, settings: IronSettings) -> ServerAddress:
        """Find what is not said, where the official client finds it.

        What is written here wins over what is found. As with that client, Keystone wins over a token.

        Raises:
            ConfigError: what is found cannot be right.
            BackendRejected: there is no token or project, or a file cannot be read.

        """
        # the official client brings an HTTP library of its own: only who uses IronMQ imports it
        from qcore_ironmq import lookup  # noqa: PLC0415 - see above

        found = lookup.found(settings.config_file)
        given = {key: getattr(settings, key) for key in lookup.KEYS}
        found |= {key: (value, f"iron_mq.{key}") for key, value in given.items() if value not in (None, "")}
        faults = [
            f"{where}: {fault}" for key, (value, where) in found.items() if (fault := _fault(key, value))
        ]
        if faults:
            raise ConfigError(faults)
        keywords = {key: value for key, (value, _) in found.items()}
        wanted = ("project_id",) if keywords.get("keystone") else ("token", "project_id")
        for key in wanted:
            if not keywords.get(key):
                raise BackendRejected(
                    f"iron_mq.{key} is missing; set it, or IRON_MQ_{key.upper()}, or write it to iron.json"
                )
        return cls(
            url=_url(keywords),
            project_id=str(keywords["project_id"]),
            token=str(keywords.get("token") or ""),
            keystone=keywords.get("keystone"),
            proxy=settings.proxy,
            timeout=settings.timeout,
        )


def _url(keywords: dict[str, Any]) -> str:
    prefix = str(keywords.get("path_prefix") or "")
    protocol, host = str(keywords.get("protocol") or "https"), str(keywords.get("host") or _HOST)
    port = keywords.get("port")
    if keywords.get("cloud"):
        parts = urlsplit(str(keywords["cloud"]))
        protocol, host, port, prefix = parts.scheme, parts.hostname or "", parts.port, parts.path
    where = f"{host}:{int(port)}" if port else host
    return f"{protocol}://{where}{prefix.rstrip('/')}/{keywords.get('api_version') or 3}"
