"""What `iron_mq` may hold, and where the rest is found."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from qcore.errors import BackendRefused

#: taken when nobody says otherwise
_HOST: Final = "mq-aws-us-east-1-1.iron.io"
_FOUND_ELSEWHERE: Final = (
    "host",
    "token",
    "project_id",
    "protocol",
    "port",
    "api_version",
    "path_prefix",
    "cloud",
)


@attrs.frozen(kw_only=True)
class IronSettings:
    """The key `iron_mq`: the keywords of the iron-mq client; None = found where that looks."""

    host: str | None = None
    token: str | None = attrs.field(default=None, repr=False)
    project_id: str | None = None
    #: `https` or `http`
    protocol: str | None = None
    port: int | None = None
    api_version: int | None = None
    path_prefix: str | None = None
    #: a URL instead of protocol, host, port and path_prefix
    cloud: str | None = None
    #: a file like iron.json
    config_file: str | None = None
    #: of a self-hosted IronMQ; not offered
    keystone: dict[str, str] | None = attrs.field(default=None, repr=False)
    #: how the client calls itself; taken and not used
    name: str | None = None


@attrs.frozen(kw_only=True)
class Place:
    """Where a project is."""

    #: without a slash at its end
    url: str
    project_id: str
    token: str = attrs.field(repr=False)

    @classmethod
    def of(cls, settings: IronSettings) -> Place:
        """Find what is not said, in the order of the iron-mq client.

        What is written here wins over `config_file`, that over iron.json in the working
        directory, that over IRON_MQ_* and IRON_* variables and ~/.iron.json.

        Raises:
            BackendRefused: there is no token or project, or a file cannot be read.

        """
        if settings.keystone is not None:
            raise BackendRefused(
                "iron_mq.keystone: tokens of a Keystone server are not offered; give iron_mq.token"
            )
        told = _from_file(Path("~/.iron.json").expanduser())
        told |= _from_environment("IRON_") | _from_environment("IRON_MQ_")
        told |= _from_file(Path("iron.json"))
        if settings.config_file:
            told |= _from_file(Path(settings.config_file), needed=True)
        given = {key: getattr(settings, key) for key in _FOUND_ELSEWHERE}
        told |= {key: value for key, value in given.items() if value not in {None, ""}}
        for key in ("token", "project_id"):
            if not told.get(key):
                raise BackendRefused(
                    f"iron_mq.{key} is missing; set it, or IRON_MQ_{key.upper()}, or write it to iron.json"
                )
        return cls(url=_url(told), project_id=str(told["project_id"]), token=str(told["token"]))


def _url(told: dict[str, Any]) -> str:
    prefix = str(told.get("path_prefix") or "")
    protocol, host = str(told.get("protocol") or "https"), str(told.get("host") or _HOST)
    port = told.get("port")
    if told.get("cloud"):
        parts = urlsplit(str(told["cloud"]))
        protocol, host, port, prefix = parts.scheme, parts.hostname or "", parts.port, parts.path
    where = f"{host}:{int(port)}" if port else host
    return f"{protocol}://{where}{prefix.rstrip('/')}/{told.get('api_version') or 3}"


def _from_environment(prefix: str) -> dict[str, Any]:
    found = {key: os.environ.get(prefix + key.upper()) for key in _FOUND_ELSEWHERE}
    return {key: value for key, value in found.items() if value}


def _from_file(path: Path, *, needed: bool = False) -> dict[str, Any]:
    """Return what a file says of every product of Iron's, and above it of IronMQ."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        told: dict[str, Any] = {**data, **data.get("iron_mq", {})}
    except FileNotFoundError as exc:
        if needed:
            raise BackendRefused(f"iron_mq.config_file: no file {path}") from exc
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as exc:
        raise BackendRefused(f"{path} cannot be read as settings of IronMQ: {exc}") from exc
    return {key: told[key] for key in _FOUND_ELSEWHERE if told.get(key)}
