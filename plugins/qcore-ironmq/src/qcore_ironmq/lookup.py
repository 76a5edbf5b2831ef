"""Decides where settings of IronMQ are found: where the official client looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import iron_core  # type: ignore[import-untyped]  # it has no types

from qcore.errors import BackendRejected

#: what the files and variables of Iron may say
KEYS: Final = (
    "host",
    "token",
    "project_id",
    "protocol",
    "port",
    "api_version",
    "path_prefix",
    "cloud",
    "keystone",
)
_PRODUCT: Final = "iron_mq"


def found(config_file: str | None) -> dict[str, tuple[Any, str]]:
    """Return each setting that is found, and the file or variable that says it.

    The order is the official client's: `config_file`, then iron.json in the working directory, then
    IRON_MQ_* and IRON_* variables, then ~/.iron.json.

    Raises:
        BackendRejected: a file cannot be read as settings.

    """
    given = _file(Path("~/.iron.json").expanduser())
    given |= _environment(None)
    given |= _environment(_PRODUCT)
    given |= _file(Path("iron.json"))
    if config_file:
        if not Path(config_file).exists():
            raise BackendRejected(f"iron_mq.config_file: no file {config_file}")
        given |= _file(Path(config_file))
    return given


def _environment(product: str | None) -> dict[str, tuple[Any, str]]:
    read: dict[str, Any] = iron_core.configFromEnv(dict.fromkeys(KEYS), product)
    prefix = (product or "iron").upper()
    given = {key: (value, f"{prefix}_{key.upper()}") for key, value in read.items() if value}
    if "keystone" in given:
        # a variable is a text, and these are four
        value, where = given["keystone"]
        try:
            given["keystone"] = json.loads(value), where
        except ValueError as exc:
            raise BackendRejected(f"{where} cannot be read: it must be a JSON object") from exc
    return given


def _file(path: Path) -> dict[str, tuple[Any, str]]:
    try:
        # the client is silent about a file that it may not read, and leaves one open that is not JSON
        data = json.loads(path.read_text(encoding="utf-8"))
        data.get(_PRODUCT, {}).keys()
        read: dict[str, Any] = iron_core.configFromFile(dict.fromkeys(KEYS), str(path), _PRODUCT)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as exc:
        raise BackendRejected(f"{path} cannot be read as settings of IronMQ: {exc}") from exc
    return {key: (read[key], f"{path}: {key}") for key in KEYS if read[key]}
