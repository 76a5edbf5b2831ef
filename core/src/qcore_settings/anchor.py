"""Relative paths in a configuration file start from its folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import attrs

from qcore_settings import shapes

if TYPE_CHECKING:
    from collections.abc import Callable


def section(settings: Any, path: str, folder: Callable[[str], Path | None]) -> Any:  # noqa: ANN401 - a plugin's type
    """Return a plugin's settings with the relative paths of a file made absolute.

    Args:
        settings: what the section holds, in the plugin's own type.
        path: its dotted path in the configuration.
        folder: returns the folder of the file that a setting comes from, None if it is from no file.

    """
    if isinstance(settings, PurePath):
        start = folder(path)
        return settings if start is None else absolute(start, settings)
    changed = {}
    for name, attribute in shapes.keys(type(settings)).items():
        value = getattr(settings, attribute)
        if (found := section(value, f"{path}.{name}", folder)) is not value:
            changed[name] = found
    if not changed:
        return settings
    replace: Callable[..., Any] = attrs.evolve if attrs.has(type(settings)) else dataclasses.replace
    return replace(settings, **changed)


def absolute(folder: Path, path: PurePath) -> PurePath:
    """Return a path that starts from a folder if it is relative; `~` stands for a home."""
    return path if path.is_absolute() or str(path).startswith("~") else folder / path
