"""Install lines in messages work as they are typed, and name what is there."""

from __future__ import annotations

import ast
import re
import tomllib
from itertools import chain
from typing import TYPE_CHECKING, Final

import pytest

from qcore import installed
from tests.house.tree import ROOT, plugin_folders, plugin_modules, test_modules, wheel_modules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.house.tree import Module

#: what is installed, up to the end of the command
LINE: Final = re.compile(r"pip install(?P<what>(?: +(?:-[\w-]+|[^\s;,)]*[^\s;,.)]))*)")
#: a value in a text, which is the name of a package of ours
VALUE: Final = "{}"
#: a package that exists, with its extras
OURS: Final = re.compile(r"\./(?P<folder>core|plugins/(?:[\w-]+|\{\}))(?:\[\w+\])?")
#: packages of ours by name, wherever a text has them
NAMED: Final = re.compile(r"\bqcore-[a-z]+\b")


def texts(module: Module) -> Iterator[str]:
    """Yield every text of a module but docstrings; values in a text are braces."""
    inside = {part for node in module.nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in module.nodes:
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            yield node.value


def strangers(text: str) -> list[str]:
    """Return what a text says to install and this repository does not have."""
    words = [word for match in LINE.finditer(text) for word in match["what"].split()]
    return [word for word in words if not word.startswith("-") and not _is_ours(word)]


def _is_ours(word: str) -> bool:
    found = OURS.fullmatch(word)
    return found is not None and (VALUE in word or (ROOT / found["folder"] / "pyproject.toml").exists())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("needs it; pip install qcore-redis", ["qcore-redis"]),
        ("pip install --upgrade {}", ["{}"]),
        ("pip install 'qcore>=26.11'", ["'qcore>=26.11'"]),
        ("pip install ./plugins/qcore-rails", ["./plugins/qcore-rails"]),
        ("in a clone: pip install --force-reinstall ./core, then ./plugins/qcore-redis[test]", []),
        ("in a clone of qcore, pip install ./plugins/{}; that is all", []),
    ],
)
def test_a_stranger_is_recognised(text: str, expected: list[str]) -> None:
    """The test finds what it is meant to find, and nothing else."""
    assert expected == strangers(text)


def test_messages_install_folders_of_this_repository() -> None:
    """Nothing is published: a name would install whatever a stranger has registered under it."""
    own = ("tests/house/", "tests/unit/test_plugins.py")
    found = [
        f"{module.place}: {word}"
        for module in (*wheel_modules(), *plugin_modules(), *test_modules())
        if "pip" in module.text and not module.place.startswith(own)
        for text in texts(module)
        if "pip install" in text
        for word in strangers(text)
    ]

    assert not found


def test_messages_name_packages_that_exist() -> None:
    """A package that nobody has written is not named: its name could be registered by anybody."""
    there = {folder.name for folder in plugin_folders()}
    found = [
        f"{module.place}: {name}"
        for module in (*wheel_modules(), *plugin_modules())
        if NAMED.search(module.text)
        for text in texts(module)
        for name in NAMED.findall(text)
        # threads and files have names of that kind as well, a message is a sentence
        if name not in there and " " in text
    ]

    assert not found


def test_known_names_lead_to_packages_that_exist() -> None:
    """What core knows of its plugins by heart is compared with their folders."""
    there = {folder.name for folder in plugin_folders()}

    assert {*installed.KNOWN.values(), *installed.KNOWN_OTHERS.values()} <= there
    assert set(installed.KNOWN_COMMANDS.values()) <= there
    assert {*installed.NEEDED, *chain(*installed.NEEDED.values())} <= there


@pytest.mark.parametrize("folder", plugin_folders(), ids=lambda folder: folder.name)
def test_what_a_plugin_needs_of_ours_is_installed_with_it(folder: Path) -> None:
    """A name that is not in the clone would be looked for in the public index."""
    table = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {found[0] for need in table["dependencies"] if (found := NAMED.match(need))}

    assert needed == set(installed.NEEDED.get(folder.name, ()))
