"""Reads settings from a file, the environment and overrides."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from qcore_settings.rules import UNSET, EnvText, InvalidValue, NotATable, is_none, problem_with
from qcore_text import wording

PREFIX = "QCORE_"
#: variables of qcore that are not settings
NOT_SETTINGS = frozenset({"QCORE_CONFIG", "QCORE_DEBUG", "QCORE_DISABLE_PLUGINS"})
#: most levels of nested tables and lists; a deeper configuration is a mistake or an attack
MAX_DEPTH = 50
#: searched for in the working directory and in the folders above it
DEFAULT_FILE = Path("qcore.toml")
PROJECT_FILE = Path("pyproject.toml")

_log = logging.getLogger("qcore.config")


@attrs.define
class Layers:
    """Settings merged from several sources, and the source of each."""

    values: dict[str, Any] = attrs.field(factory=dict)
    #: dotted path of a setting -> file or variable
    origins: dict[str, str] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)
    #: key whose value may be a text -> the field of its table that such a text sets
    texts: Mapping[str, str] = attrs.field(factory=dict)
    #: the file that was read, None while none was
    source: Path | None = None

    def folder(self, path: str) -> Path | None:
        """Return the folder that a relative path in the setting at a dotted path starts from.

        None means the working directory, because the setting is not from a file.
        """
        if self.source is None or self.origin(path) != str(self.source):
            return None
        return self.source.absolute().parent

    def origin(self, path: str) -> str:
        """Return the source of the setting at a dotted path, "" if it is not known."""
        while path not in self.origins and "." in path:
            path = path.rpartition(".")[0]
        return self.origins.get(path, "")

    def merge(self, values: Any, origin: str = "") -> None:  # noqa: ANN401 - its type is checked here
        """Merge settings over the present ones; tables are merged key by key."""
        if not isinstance(values, Mapping):
            self.problems.append(f"configuration: got {wording.shown(values)}; must be a table of settings")
            return
        if _is_deep(values):
            self.problems.append("configuration: its tables are nested too deeply; no setting needs that")
            return
        self._merge(self.values, values, origin, "")

    def _merge(self, below: dict[str, Any], above: Mapping[str, Any], origin: str, path: str) -> None:
        for key, value in above.items():
            if value is UNSET:
                continue
            setting = f"{path}{key}"
            if isinstance(value, Mapping):
                under = below.get(key)
                if isinstance(under, str) and setting in self.texts and not is_none(under):
                    # An address in one layer and its password in the next are both meant.
                    below[key] = {self.texts[setting]: under}
                    self.origins[f"{setting}.{self.texts[setting]}"] = self.origin(setting)
                elif not isinstance(under, dict):
                    if isinstance(under, str) and not is_none(under):
                        # It would be forgotten without a word, and the table alone may look complete.
                        whence = self.origin(setting)
                        got = f"{setting}: got a text{whence and f' from {whence}'}"
                        self.problems.append(f"{got}; must be a table of settings")
                    below[key] = {}
                self._merge(below[key], value, origin, f"{setting}.")
            else:
                below[key] = value
            self.origins[setting] = origin

    def file(self, path: str | Path | None, env: Mapping[str, str]) -> None:
        """Merge the settings of a TOML file: the named one, else the nearest one."""
        named = path or env.get("QCORE_CONFIG")
        if named:
            chosen = Path(named)
            prefix = "" if path else "QCORE_CONFIG: "
            self._toml(chosen, prefix, whole=chosen.name != PROJECT_FILE.name)
        elif found := find():
            self._toml(found, "", whole=found.name != PROJECT_FILE.name)

    def _toml(self, path: Path, prefix: str, *, whole: bool) -> None:
        import tomllib  # noqa: PLC0415 - needed only if there is a file

        try:
            # some editors begin a file with a byte order mark
            content: Any = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            why = (
                (error.strerror or "")
                if isinstance(error, OSError)
                else wording.reason(error).partition(": ")[2]
            )
            remedy = "check the path" if isinstance(error, OSError) else "correct the file"
            self.problems.append(
                f"{prefix}the configuration file {str(path)!r} cannot be read: {why}; {remedy}"
            )
            return
        if not whole:
            tool = content.get("tool", {})
            content = tool.get("qcore", {}) if isinstance(tool, Mapping) else {}
            if not isinstance(content, Mapping):
                self.problems.append(f"tool.qcore: must be a table in {str(path)!r}; write [tool.qcore]")
                return
        self.source = path
        self.merge(content, str(path))

    def environment(self, env: Mapping[str, str]) -> None:
        """Merge the variables `QCORE_<KEY>` and `QCORE_<SECTION>__<KEY>`, longer paths last."""
        for variable in sorted(env, key=lambda name: (name.count("__"), name)):
            if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
                continue
            keys = variable.removeprefix(PREFIX).lower().split("__")
            if not all(keys):
                self.problems.append(
                    f"{variable}: not the name of a setting; write QCORE_KEY or QCORE_SECTION__KEY"
                )
                continue
            try:
                value = _value(env[variable])
            except InvalidValue as error:
                self.problems.append(problem_with(".".join(keys), env[variable], error, variable))
                continue
            for key in reversed(keys):
                value = {key: value}
            self.merge(value, variable)


def find() -> Path | None:
    """Return the nearest configuration file, in the working directory or a folder above it.

    In each folder it is `qcore.toml`, else a `pyproject.toml` with a table `[tool.qcore]`. A file
    above the working directory must belong to root, to this user, or to the owner of the working
    directory, because a configuration decides which code is run. git has the same rule.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        for name in (DEFAULT_FILE, PROJECT_FILE):
            file = name if folder == here else folder / name
            if file.exists() and (name == DEFAULT_FILE or _configures_qcore(file)):
                if folder == here or _is_trusted(file, here):
                    return file
                _log.warning(
                    "the configuration file %s is ignored, because it belongs neither to you, nor to root, "
                    "nor to the owner of %s; set QCORE_CONFIG to use it",
                    file,
                    here,
                )
    return None


def _configures_qcore(project: Path) -> bool:
    """Return whether a pyproject.toml has a table for qcore."""
    import tomllib  # noqa: PLC0415 - needed only if there is a file

    try:
        text = project.read_bytes()
        return b"qcore" in text and "qcore" in tomllib.loads(text.decode("utf-8-sig")).get("tool", {})
    except (OSError, ValueError, RecursionError, TypeError):
        # one in the working directory is read all the same, and its problem is reported then
        return project.parent == Path()


def _is_trusted(file: Path, here: Path) -> bool:
    return file.stat().st_uid in {0, os.getuid(), here.stat().st_uid}


def _is_deep(values: object) -> bool:
    """Return whether tables and lists are nested deeper than MAX_DEPTH."""
    # by identity, so that a table that contains itself is checked once a level
    level: dict[int, Any] = {id(values): values}
    for _ in range(MAX_DEPTH):
        inner = [
            item
            for value in level.values()
            for item in (value.values() if isinstance(value, Mapping) else value)
            if isinstance(item, Mapping | list | tuple)
        ]
        level = {id(item): item for item in inner}
    return bool(level)


def _value(text: str) -> Any:  # noqa: ANN401 - JSON
    if not text.strip():
        raise InvalidValue("the variable is empty; unset it, or write none for no value")
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise NotATable(
                "it begins like a JSON table but is not valid JSON; check quotes and commas"
            ) from None
    # the setting decides whether a list is JSON or text with commas
    return EnvText(text)
