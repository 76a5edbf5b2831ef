"""Entry points are found as `importlib.metadata` finds them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore_names.entry_points import EntryPoint, entry_points, version_of

GROUP: Final = "qcore"

names = st.sampled_from(["qcore-redis", "Qcore_Redis", "qcore.redis", "mail", "a-b"])
lines = st.sampled_from(
    [
        "[qcore]",
        "[ qcore ]",
        "[other]",
        "# a comment",
        "",
        "one = package.module",
        "two=package.module:thing.inner",
        "  three  =  module : thing  [extra]",
        "dotted.name = module",
    ]
)
distributions = st.tuples(
    st.sampled_from([".dist-info", ".egg-info"]), names, st.sampled_from(["1.0", "26.11.0"]), st.lists(lines)
)


def install(folder: Path, suffix: str, name: str, version: str, text: str) -> None:
    """Write what an installer writes about a distribution."""
    about = folder / f"{name.replace('-', '_')}-{version}{suffix}"
    about.mkdir(parents=True, exist_ok=True)
    file = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}[suffix]
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: of the description"
    (about / file).write_text(head, encoding="utf-8")
    (about / "entry_points.txt").write_text(text, encoding="utf-8")


def theirs(path: list[str]) -> list[tuple[str, str, str, str]]:
    """Return what `importlib.metadata` finds."""
    seen: set[str] = set()
    found = []
    for one in metadata.distributions(path=path):
        if one._normalized_name not in seen:  # type: ignore[attr-defined]  # how it tells them apart
            seen.add(one._normalized_name)  # type: ignore[attr-defined]  # as above
            found += [
                (point.name, point.value, one.metadata["Name"], one.metadata["Version"])
                for point in one.entry_points
                if point.group == GROUP
            ]
    return found


@given(st.lists(st.lists(distributions, max_size=3), max_size=3))
def test_what_importlib_metadata_finds_is_found(folders: list[list[tuple[str, str, str, list[str]]]]) -> None:
    """A plugin is found whatever wrote the files about it, and the first of a name hides the others."""
    with tempfile.TemporaryDirectory() as root:
        path = [os.path.join(root, str(number)) for number in range(len(folders))]
        for folder, ones in zip(path, folders, strict=True):
            written: set[str] = set()
            for suffix, name, version, text in ones:
                # an installer leaves one of a name in a folder
                if (key := name.lower().replace("_", "-").replace(".", "-")) not in written:
                    written.add(key)
                    install(Path(folder), suffix, name, version, "[qcore]\n" + "\n".join(text))

        found = entry_points(GROUP, [*path, os.path.join(root, "is not there")])

        assert sorted(map(tuple, found)) == sorted(theirs(path))


def test_those_installed_here_are_found() -> None:
    """The plugins of this environment are found with their names and versions."""
    assert sorted(map(tuple, entry_points(GROUP))) == sorted(theirs(sys.path))
    assert version_of("qcore") == metadata.version("qcore")
    assert version_of("a-package-that-is-not-here") is None


def test_an_archive_on_the_path_is_looked_into(tmp_path: Path) -> None:
    """A program that is one archive may have its plugins in it."""
    install(tmp_path / "folder", ".dist-info", "mail", "1.0", "[qcore]\npost = mail.post\n")
    archive = tmp_path / "program.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for one in (tmp_path / "folder").rglob("*"):
            file.write(one, one.relative_to(tmp_path / "folder"))

    assert entry_points(GROUP, [str(archive)]) == [EntryPoint("post", "mail.post", "mail", "1.0")]
    assert version_of("mail", [str(archive)]) == "1.0"
    assert version_of("post", [str(archive)]) is None


def test_another_finder_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An import hook may know distributions that are in no folder."""

    class Known(metadata.Distribution):
        def read_text(self, filename: str) -> str | None:
            return {
                "METADATA": "Metadata-Version: 2.1\nName: hooked\nVersion: 3\n",
                "entry_points.txt": "[qcore]\nhooked = hooked.plugin\n",
            }.get(filename)

        def locate_file(self, path: Any) -> Any:
            return tmp_path / path

    class Finder:
        def find_spec(self, *_: object) -> None:
            return None

        def find_distributions(self, *_: object) -> list[metadata.Distribution]:
            return [Known()]

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])

    assert entry_points(GROUP, [str(tmp_path)]) == [EntryPoint("hooked", "hooked.plugin", "hooked", "3")]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("logging", logging),
        ("logging:Logger", logging.Logger),
        ("logging : Logger.info [extra]", logging.Logger.info),
        ("os.path:join", os.path.join),
    ],
)
def test_it_leads_to_what_it_names(value: str, what: object) -> None:
    """An entry point is a module, or something in one."""
    assert EntryPoint("one", value).load() is what
    assert metadata.EntryPoint("one", value, GROUP).load() is what


@pytest.mark.parametrize(
    ("value", "error"),
    [("no-module", ValueError), ("a_module_that_is_not_there", ImportError), ("os:nothing", AttributeError)],
)
def test_what_it_does_not_name_is_an_error(value: str, error: type[Exception]) -> None:
    """A wrong entry point says what is wrong, and its plugin is reported as broken."""
    with pytest.raises(error):
        EntryPoint("one", value).load()


@pytest.mark.portable
def test_what_a_program_does_not_use_is_not_imported(tmp_path: Path) -> None:
    """An installed plugin that is not configured costs no import of its libraries."""
    program = (
        "import sys\nfrom qcore import App\n"
        "app = App()\napp.enqueue('math.hypot', 3, 4)\nassert len(app.runtime.plugins.listing()) > 3\n"
        "print(*sorted(name for name in sys.modules if '.' not in name))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stderr
    told = ran.stdout
    own = {name for name in told.split() if name.startswith(("qcore", "__", "_", "sitecustomize"))}

    clients = set(told.split()) - own - sys.stdlib_module_names

    assert clients <= {"attr", "attrs", "cronsim", "msgspec", "pluggy", "typing_extensions"}
    # slow to import: what speaks to servers, and the parser of e-mails
    assert not {"asyncio", "email", "http", "ssl", "urllib3"} & set(told.split())
