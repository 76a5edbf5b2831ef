"""Reads which entry points the installed distributions have."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: folder of what is known of a distribution -> the file in it that has its name and version
_ABOUT: Final = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}
#: module and attribute; an extra in brackets may follow, which is not a part of the name
_VALUE: Final = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<attribute>[\w.]+)?\s*)?(?:\[.*\])?\s*\Z")


class EntryPoint(NamedTuple):
    """A name that a distribution gives to one of its modules, or to something in it."""

    name: str
    #: `module`, or `module:attribute`
    value: str
    #: None = it does not say
    distribution: str | None = None
    version: str | None = None

    @property
    def module(self) -> str:
        """The name of the module that it is, or that it is in."""
        match = _VALUE.match(self.value)
        return match["module"] if match else self.value

    def load(self) -> Any:  # noqa: ANN401 - whatever it names
        """Import the module and return what is named in it.

        Raises:
            ValueError: the value is not `module:attribute`.
            ImportError, AttributeError: there is no such thing.
        """
        match = _VALUE.match(self.value)
        if match is None:
            msg = (
                f"the entry point {self.name} = {self.value!r} does not name a module; write module:attribute"
            )
            raise ValueError(msg)
        found = import_module(match["module"])
        for part in filter(None, (match["attribute"] or "").split(".")):
            found = getattr(found, part)
        return found


class _Distribution(NamedTuple):
    """A distribution in a folder of the path."""

    #: as all spellings of it are written
    key: str
    #: its folder
    folder: str
    #: the file in it that has its name and version
    about: str


def entry_points(group: str, path: Sequence[str] | None = None) -> list[EntryPoint]:
    """Return the entry points of a group: the distributions in the order of the path, the first of a name.

    `importlib.metadata` finds the same; it imports the parser of e-mails for it and parses each
    distribution's description, which takes a seventh of the time to the first task. It is asked where
    something else than folders is on the path.
    """
    path = sys.path if path is None else path
    folders = _folders(path)
    return _by_metadata(group, path) if folders is None else list(_in(folders, group))


def version_of(name: str, path: Sequence[str] | None = None) -> str | None:
    """Return the version of an installed distribution; None = it is not installed."""
    path = sys.path if path is None else path
    folders = _folders(path)
    if folders is None:
        from importlib import metadata  # noqa: PLC0415 - as above

        found = next(iter(metadata.distributions(name=name, path=list(path))), None)
        return str(found.version) if found else None
    key = _key(name)
    one = next((one for one in _distributions(folders) if one.key == key), None)
    return _about(one)[1] if one else None


def _folders(path: Sequence[str]) -> list[list[str]] | None:
    """Return the folders about distributions, by the part of the path; None if there may be others."""
    if any(hasattr(one, "find_distributions") for one in sys.meta_path if one is not PathFinder):
        return None
    folders = []
    for part in path:
        try:
            names = os.listdir(part or ".")  # noqa: PTH208 - sys.path holds text
        except (FileNotFoundError, PermissionError):
            continue
        except OSError:
            return None  # an archive
        if any(name.lower().endswith(".egg") for name in names):
            return None
        folders.append([os.path.join(part, name) for name in names if name.lower().endswith(tuple(_ABOUT))])  # noqa: PTH118 - as above
    return folders


def _distributions(folders: Sequence[Sequence[str]]) -> Iterator[_Distribution]:
    seen: set[str] = set()
    for found in folders:
        # of one folder's, those in the newer format are found first
        for suffix, about in _ABOUT.items():
            for folder in (one for one in found if one.lower().endswith(suffix)):
                key = _key(os.path.basename(folder)[: -len(suffix)].partition("-")[0])  # noqa: PTH119 - as above
                if key not in seen:
                    seen.add(key)
                    yield _Distribution(key, folder, about)


def _in(folders: Sequence[Sequence[str]], group: str) -> Iterator[EntryPoint]:
    for one in _distributions(folders):
        listed = list(_listed(_read(one.folder, "entry_points.txt"), group))
        if listed:
            about = _about(one)
            yield from (EntryPoint(name, value, *about) for name, value in listed)


def _listed(text: str, group: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and not line.startswith("#") and section == group:
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def _about(one: _Distribution) -> tuple[str | None, str | None]:
    """Return name and version."""
    found: dict[str, str] = {}
    for line in _read(one.folder, one.about).splitlines():
        if not line:
            break  # the description follows
        key, _, value = line.partition(":")
        found.setdefault(key.lower(), value.strip())
    return found.get("name"), found.get("version")


def _read(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:  # noqa: PTH118, PTH123 - as above
            return file.read()
    except OSError:
        return ""


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _by_metadata(group: str, path: Sequence[str]) -> list[EntryPoint]:
    from importlib import metadata  # noqa: PLC0415 - see `entry_points`

    seen: set[str] = set()
    found = []
    for one in metadata.distributions(path=list(path)):
        about = one.metadata
        key = _key(about["Name"] or "")
        if key not in seen:
            seen.add(key)
            found += [
                EntryPoint(point.name, point.value, about["Name"], about["Version"])
                for point in one.entry_points
                if point.group == group
            ]
    return found
