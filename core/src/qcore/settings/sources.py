"""Where settings come from: a file, the environment, overrides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from qcore import wording
from qcore.settings.rules import UNSET, EnvText, NotATable, Wrong, told

PREFIX = "QCORE_"
#: variables of ours that are no settings
NOT_SETTINGS = frozenset({"QCORE_CONFIG", "QCORE_DEBUG", "QCORE_DISABLE_PLUGINS"})
#: tables and lists within one another; beyond this a configuration is a mistake or an attack
DEEPEST = 50
#: looked for in the working directory
DEFAULT_FILE = Path("qcore.toml")
PROJECT_FILE = Path("pyproject.toml")


@attrs.define
class Layers:
    """Settings laid over one another, and where each came from."""

    values: dict[str, Any] = attrs.field(factory=dict)
    #: dotted path -> file or variable
    origins: dict[str, str] = attrs.field(factory=dict)
    faults: list[str] = attrs.field(factory=list)

    def origin(self, path: str) -> str:
        """Return where the setting at a dotted path came from, or nothing."""
        while path not in self.origins and "." in path:
            path = path.rpartition(".")[0]
        return self.origins.get(path, "")

    def lay(self, values: Any, origin: str = "") -> None:  # noqa: ANN401 - it is found out here
        """Lay settings over those there are; a table is laid over a table key by key."""
        if not isinstance(values, Mapping):
            self.faults.append(f"configuration: got {wording.shown(values)}; must be a table of settings")
            return
        if _is_deep(values):
            self.faults.append("configuration: its tables are nested too deeply; no setting needs that")
            return
        self._lay(self.values, values, origin, "")

    def _lay(self, below: dict[str, Any], above: Mapping[str, Any], origin: str, path: str) -> None:
        for key, value in above.items():
            if value is UNSET:
                continue
            place = f"{path}{key}"
            if isinstance(value, Mapping):
                if not isinstance(below.get(key), dict):
                    below[key] = {}
                self._lay(below[key], value, origin, f"{place}.")
            else:
                below[key] = value
            self.origins[place] = origin

    def file(self, path: str | Path | None, env: Mapping[str, str]) -> None:
        """Lay the settings of a TOML file: the one named, else the one found here."""
        named = path or env.get("QCORE_CONFIG")
        if named:
            chosen = Path(named)
            said = "" if path else "QCORE_CONFIG: "
            self._toml(chosen, said, whole=chosen.name != PROJECT_FILE.name)
        elif DEFAULT_FILE.exists():
            self._toml(DEFAULT_FILE, "", whole=True)
        elif PROJECT_FILE.exists():
            self._toml(PROJECT_FILE, "", whole=False)

    def _toml(self, path: Path, said: str, *, whole: bool) -> None:
        import tomllib  # noqa: PLC0415 - only where there is a file

        try:
            with path.open("rb") as file:
                content: Any = tomllib.load(file)
        except (OSError, ValueError, RecursionError) as error:
            why = (
                (error.strerror or "")
                if isinstance(error, OSError)
                else wording.reason(error).partition(": ")[2]
            )
            remedy = "check the path" if isinstance(error, OSError) else "correct it there"
            self.faults.append(f"{said}the configuration file {str(path)!r} cannot be read: {why}; {remedy}")
            return
        if not whole:
            tool = content.get("tool", {})
            content = tool.get("qcore", {}) if isinstance(tool, Mapping) else {}
            if not isinstance(content, Mapping):
                self.faults.append(f"tool.qcore: must be a table in {str(path)!r}; write [tool.qcore]")
                return
        self.lay(content, str(path))

    def environment(self, env: Mapping[str, str]) -> None:
        """Lay the variables `QCORE_<KEY>` and `QCORE_<SECTION>__<KEY>`, longer paths last."""
        for variable in sorted(env, key=lambda name: (name.count("__"), name)):
            if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
                continue
            keys = variable.removeprefix(PREFIX).lower().split("__")
            if not all(keys):
                self.faults.append(
                    f"{variable}: not the name of a setting; write QCORE_KEY or QCORE_SECTION__KEY"
                )
                continue
            try:
                value = _value(env[variable])
            except Wrong as error:
                self.faults.append(told(".".join(keys), env[variable], error, variable))
                continue
            for key in reversed(keys):
                value = {key: value}
            self.lay(value, variable)


def _is_deep(values: object) -> bool:
    """Tell whether there are more than DEEPEST tables or lists within one another."""
    # by identity, so that a table that holds itself is looked at once a level
    level: dict[int, Any] = {id(values): values}
    for _ in range(DEEPEST):
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
        raise Wrong("the variable is empty; unset it, or write none for no value")
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise NotATable("it begins like a JSON table but is none; check quotes and commas") from None
    # whether a list is JSON or text depends on the setting
    return EnvText(text)
