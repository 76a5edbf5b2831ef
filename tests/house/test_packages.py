"""What every package and the tree around them keep to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any, Final

import pytest

import qcore
from tests.house.tree import ROOT, plugin_folders, tracked_files

if TYPE_CHECKING:
    from pathlib import Path

#: what may stand beside the dotfiles at the top
TOP: Final = {
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "constraints.txt",
    "core",
    "docs",
    "plugins",
    "pyproject.toml",
    "tests",
    "tox.ini",
}
FRAGMENT: Final = re.compile(r"[a-z0-9-]+\.(added|changed|deprecated|removed|fixed|security)(\.\d+)?\.md")
#: put together here, so that this file does not find itself
MACHINE: Final = re.compile(
    r"(?<![\w.])/(wor" + r"k|roo" + r"t|far" + r"m)/[\w.]"
    r"|(?<![\w.])/opt/(py" + r"pi|wheel" + r"s)"
    r"|py" + r"pi\.org|python" + r"hosted\.org|npm" + r"js\.(org|com)"
    r"|source = \{ registry" + r" ="
)


def project(folder: Path) -> dict[str, Any]:
    """Return the `[project]` table of a package."""
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def packages() -> list[Any]:
    """Core and every plugin."""
    return [pytest.param(folder, id=folder.name) for folder in [ROOT / "core", *plugin_folders()]]


@pytest.mark.parametrize("folder", packages())
def test_a_package_is_whole(folder: Path) -> None:
    """Each package has a licence, a calendar version, a README, a changelog and says it is typed."""
    table = project(folder)
    name = table["name"].replace("-", "_")

    assert table["license"] == "MIT"
    assert re.fullmatch(r"\d\d\.\d{1,2}\.\d+", table["version"])
    assert (folder / "README.md").is_file()
    assert (folder / "CHANGELOG.md").is_file()
    assert (folder / "src" / name / "py.typed").is_file()


@pytest.mark.parametrize("folder", packages()[1:])
def test_a_plugin_asks_for_our_core(folder: Path) -> None:
    """A bound below 26.11 would let an unrelated package of the same name in; `==` would pin."""
    table = project(folder)
    bounds = [need for need in table["dependencies"] if re.match(r"qcore(?![\w-])", need)]

    assert len(bounds) == 1
    assert re.fullmatch(r"qcore(\[\w+\])?\s*>=\s*26\.(1[1-9]|[2-9]\d)(\.\d+)?", bounds[0])
    assert table["name"] == folder.name
    assert table["entry-points"]["qcore"]


@pytest.mark.parametrize("folder", packages()[1:])
def test_a_plugin_that_is_not_used_imports_no_client(folder: Path) -> None:
    """It is loaded in each process of qcore's; its service's client is not, until a factory is asked."""
    (module,) = project(folder)["entry-points"]["qcore"].values()
    own = module.partition(".")[0]
    program = f"""
import sys
from qcore import App
before = set(sys.modules)
import {module}
print(*{{one.partition(".")[0] for one in set(sys.modules) - before}} - sys.stdlib_module_names)
"""
    where = os.pathsep.join([str(folder / "src"), str(ROOT / "core" / "src")])

    loaded = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": where}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert loaded.stdout.split() == [own]


@pytest.mark.parametrize("package", sorted(path.name for path in (ROOT / "core" / "src").glob("qcore*")))
def test_a_package_of_the_core_is_imported_first(package: str) -> None:
    """Each package of the core's wheel is imported without the App, so no two import each other."""
    program = f"""
import importlib, pkgutil, sys, {package}
if {package!r} != "qcore":
    for one in pkgutil.walk_packages({package}.__path__, {package!r} + "."):
        importlib.import_module(one.name)
print("qcore.app" in sys.modules)
"""
    where = str(ROOT / "core" / "src")

    loaded = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": where}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert loaded.stdout.split() == ["False"]


def test_every_public_name_is_found() -> None:
    """Names are imported when they are used; what `__all__` lists is there, for consoles too."""
    missing = [name for name in qcore.__all__ if not hasattr(qcore, name)]

    assert not missing
    assert dir(qcore) == sorted(qcore.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Appp'"):
        getattr(qcore, "Appp")  # noqa: B009 - a type checker knows that it is not there


def test_no_tool_names_a_plugin() -> None:
    """A new plugin is a new folder and nothing else: no line in tox.ini or the root's pyproject.toml."""
    named = [
        f"{name} names {folder.name}"
        for folder in plugin_folders()
        for name in ("tox.ini", "pyproject.toml", ".ci/run", "core/pyproject.toml")
        if folder.name in (ROOT / name).read_text(encoding="utf-8")
    ]

    assert not named, "\n".join(["", *named])


def test_the_top_of_the_tree_stays_small() -> None:
    """Nothing stands at the top but what was agreed, and dotfiles."""
    top = {path.relative_to(ROOT).parts[0] for path in tracked_files()}

    assert {name for name in top if not name.startswith(".")} <= TOP


def test_changelog_fragments_are_named_for_their_release_notes() -> None:
    """A fragment is `<issue>.<kind>.md`."""
    folders = [ROOT / "core", *plugin_folders()]
    odd = [
        path.name
        for folder in folders
        for path in sorted(folder.glob("changelog/*"))
        if not FRAGMENT.fullmatch(path.name)
    ]

    assert not odd, "\n".join(["", *odd])


def test_no_file_names_a_machine_or_an_index() -> None:
    """The tree works anywhere: no path of one machine, no address of a package index."""
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number} {match[0]}"
            for number, line in enumerate(text.splitlines(), 1)
            if (match := MACHINE.search(line))
        ]

    assert not found, "\n".join(["", *found])


def test_ci_runs_what_the_readme_says() -> None:
    """The command that tests everything is one line, the same for a reader and for CI."""
    commands = re.findall(r"^python3 -m venv .*tox -p 2$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)

    assert len(commands) == 1
    assert commands[0] in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def test_environments_need_nothing_that_is_there_by_chance() -> None:
    """Whatever comes as source is built apart with the builder it names, never with what lies around."""
    text = (ROOT / "tox.ini").read_text(encoding="utf-8")

    assert "tox-uv" in text
    assert "no-build" + "-isolation" not in text
