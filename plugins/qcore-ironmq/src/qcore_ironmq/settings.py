"""What `iron_mq` may hold, and where the rest is found."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from qcore.errors import BackendRejected, ConfigError

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


def _fault(key: str, value: object) -> str:
    """Return what is wrong with a value, nothing if it is right; a token is never shown."""
    text = str(value)
    if key == "token" and not (text.isascii() and text.isprintable() and " " not in text):
        return "must be printable ASCII without whitespace, for it travels in a header"
    if key == "port" and not (re.fullmatch(r"[0-9]{1,5}", text) and 1 <= int(text) <= 65_535):
        return f"got {text[:20]!r}; must be a whole number from 1 to 65535"
    if key == "protocol" and text not in {"http", "https"}:
        return f"got {text[:20]!r}; must be https or http"
    if key == "cloud" and not _is_url(text):
        return "must be a URL such as https://mq.example:443"
    return ""


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _right(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in {None, ""} and (fault := _fault(attribute.name, value)):
        raise ValueError(f"{attribute.name}: {fault}")


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

    @property
    def project(self) -> str:
        """Return what names the project, however its address is written."""
        parts = urlsplit(self.url)
        usual = {"https": 443, "http": 80}.get(parts.scheme)
        where = f"{parts.hostname}:{parts.port}" if parts.port not in {None, usual} else parts.hostname
        # without the version of the interface
        return f"{where}{parts.path.rpartition('/')[0]}/{self.project_id}"

    @classmethod
    def of(cls, settings: IronSettings) -> Place:
        """Find what is not said, in the order of the iron-mq client.

        What is written here wins over `config_file`, that over iron.json in the working
        directory, that over IRON_MQ_* and IRON_* variables and ~/.iron.json.

        Raises:
            ConfigError: what is found cannot be right.
            BackendRejected: there is no token or project, or a file cannot be read.

        """
        if settings.keystone is not None:
            raise BackendRejected(
                "iron_mq.keystone: tokens of a Keystone server are not offered; give iron_mq.token"
            )
        found = _from_file(Path("~/.iron.json").expanduser())
        found |= _from_environment("IRON_") | _from_environment("IRON_MQ_")
        found |= _from_file(Path("iron.json"))
        if settings.config_file:
            found |= _from_file(Path(settings.config_file), needed=True)
        given = {key: getattr(settings, key) for key in _FOUND_ELSEWHERE}
        found |= {key: (value, f"iron_mq.{key}") for key, value in given.items() if value not in {None, ""}}
        faults = [
            f"{where}: {fault}" for key, (value, where) in found.items() if (fault := _fault(key, value))
        ]
        if faults:
            raise ConfigError(faults)
        told = {key: value for key, (value, _) in found.items()}
        for key in ("token", "project_id"):
            if not told.get(key):
                raise BackendRejected(
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


def _from_environment(prefix: str) -> dict[str, tuple[Any, str]]:
    """Return what variables say, and which one says it."""
    names = {key: prefix + key.upper() for key in _FOUND_ELSEWHERE}
    return {key: (os.environ[name], name) for key, name in names.items() if os.environ.get(name)}


def _from_file(path: Path, *, needed: bool = False) -> dict[str, tuple[Any, str]]:
    """Return what a file says of every product of Iron's, and above it of IronMQ; and which file it is."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        told: dict[str, Any] = {**data, **data.get("iron_mq", {})}
    except FileNotFoundError as exc:
        if needed:
            raise BackendRejected(f"iron_mq.config_file: no file {path}") from exc
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as exc:
        raise BackendRejected(f"{path} cannot be read as settings of IronMQ: {exc}") from exc
    return {key: (told[key], f"{path}: {key}") for key in _FOUND_ELSEWHERE if told.get(key)}
