"""Decides what the value of a plugin's key is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore.errors import PluginError
from qcore.settings import crosscheck
from qcore_settings import anchor
from qcore_settings.rules import NotATable, problem_with
from qcore_settings.structure import InvalidSection, structure, unstructured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from qcore.plugins import Plugins


def read(  # noqa: PLR0917 - a key, and what is known of it
    key: str,
    value: object,
    settings: Sequence[str],
    plugins: Plugins,
    origin: Callable[[str], str],
    folder: Callable[[str], Path | None],
) -> tuple[Any, Any]:
    """Return the value of a plugin's key as the plugin's type, and as it was written.

    A relative path of type `Path` that comes from a file starts from the folder of that file.

    Raises:
        InvalidSection: with all problems.

    """
    if not isinstance(key, str):
        raise InvalidSection([f"{key!r}: the name of a setting must be a text"])
    try:
        if key in plugins.names("qcore_settings"):
            section, raw = structure(value, plugins.find("qcore_settings", key), key, origin)
            anchored = anchor.section(section, key, folder)
            if anchored is not section:
                raw = unstructured(anchored)
            return anchored, raw
        if key not in plugins.names("qcore_brokers"):
            raise InvalidSection([crosscheck.unknown(key, settings, plugins, origin(key))])
    except PluginError as error:
        raise InvalidSection([f"{key}: {error}"]) from None
    if value not in ({}, True):
        nothing = NotATable("this broker has no settings; write an empty table")
        raise InvalidSection([problem_with(key, value, nothing, origin(key))])
    return None, {}
