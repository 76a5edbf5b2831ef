"""Relative paths in a configuration file start from its folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import attrs

from qcore.settings.keyfile import FILE

if TYPE_CHECKING:
    from collections.abc import Callable


def keys(keys: tuple[str, ...], folder: Path | None) -> tuple[str, ...]:
    """Return secret keys; the relative path of a key file starts from this folder, if there is one."""
    if folder is None:
        return keys
    return tuple(
        f"{FILE}{_from(folder, Path(key.removeprefix(FILE).strip()))}" if key.startswith(FILE) else key
        for key in keys
    )


def section(settings: Any, path: str, folder: Callable[[str], Path | None]) -> Any:  # noqa: ANN401 - a plugin's type
    """Return a plugin's settings with the relative paths of a file made absolute.

    Args:
        settings: what the section holds, in the plugin's own type.
        path: its dotted path in the configuration.
        folder: returns the folder of the file that a setting comes from, None if it is from no file.

    """
    if isinstance(settings, PurePath):
        start = folder(path)
        return settings if start is None else _from(start, settings)
    changed = {}
    for name, attribute in _fields(type(settings)).items():
        value = getattr(settings, attribute)
        if (found := section(value, f"{path}.{name}", folder)) is not value:
            changed[name] = found
    if not changed:
        return settings
    replace: Callable[..., Any] = attrs.evolve if attrs.has(type(settings)) else dataclasses.replace
    return replace(settings, **changed)


def _from(folder: Path, path: PurePath) -> PurePath:
    return path if path.is_absolute() or str(path).startswith("~") else folder / path


def _fields(kind: type) -> dict[str, str]:
    """Return the settings of a class: name in the configuration -> attribute."""
    if attrs.has(kind):
        return {field.alias: field.name for field in attrs.fields(kind) if field.init}
    return (
        {field.name: field.name for field in dataclasses.fields(kind)}
        if dataclasses.is_dataclass(kind)
        else {}
    )
