"""Which changes of files replace workers."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore_reload.changes import QUIET, changed_since, file_time, grouped
from qcore_reload.folders import is_installed, watched
from qcore_reload.watcher import Watcher, forget, named
from tests.integration.land import until

#: a change of a module, and one of another file
MODULE, LOG = {(1, "/srv/shop.py")}, {(1, "/srv/shop.log")}


def told(*changes: set[tuple[int, str]], step: float) -> list[list[str]]:
    """Return what is said of changes that come `step` seconds after one another."""
    now = iter(range(1000))
    found = grouped(iter(changes), lambda _, path: path.endswith(".py"), lambda: next(now) * step)
    return [files for files in found if files]


def test_a_file_that_changes_all_the_time_is_told_once_when_it_is_quiet() -> None:
    """Ten times a second, for ten seconds."""
    assert told(*[MODULE] * 100, set(), set(), set(), step=0.1) == [["/srv/shop.py"]]


def test_a_log_that_is_written_all_the_time_delays_nothing() -> None:
    """Its folder is watched too, so that it is never quiet."""
    assert told(MODULE, *[LOG] * 10, step=0.1) == [["/srv/shop.py"]]


def test_nothing_is_told_of_other_files() -> None:
    """Data, templates and pictures are not modules."""
    assert told(LOG, set(), set(), set(), step=QUIET) == []


def test_what_changes_together_is_told_together() -> None:
    """An editor that saves all, or git."""
    assert told(MODULE, {(2, "/srv/cart.py")}, set(), set(), step=QUIET) == [["/srv/cart.py", "/srv/shop.py"]]


def test_folders_of_the_user_are_watched(tmp_path: Path) -> None:
    """Neither installed packages, nor what is inside of another folder, nor what is not there."""
    (tmp_path / "inner").mkdir()
    installed = [sysconfig.get_path("stdlib"), *site.getsitepackages()]
    path = [str(tmp_path / "inner"), str(tmp_path), str(tmp_path / "none"), *installed]

    assert watched(path) == [os.path.realpath(tmp_path)]


def test_an_installed_file_is_no_change() -> None:
    """`pip install` in a virtual environment below the program."""
    assert is_installed(os.path.realpath(pytest.__file__))
    assert is_installed(os.path.join(os.path.realpath(sys.prefix), "bin", "tool.py"))
    assert not is_installed(os.path.realpath(__file__))


def test_where_only_packages_are_there_is_nothing_to_watch() -> None:
    """Said at the start."""
    with pytest.raises(ConfigError, match=r"--reload: there is nothing to watch"):
        Watcher([sysconfig.get_path("purelib")])


def test_compiled_code_is_removed(tmp_path: Path) -> None:
    """Of files that have it; the others are ignored."""
    module = tmp_path / "shop.py"
    compiled = tmp_path / "__pycache__" / f"shop.{sys.implementation.cache_tag}.pyc"
    compiled.parent.mkdir()
    compiled.touch()

    forget([str(module), str(tmp_path / "other.py")])

    assert not compiled.exists()


def test_a_line_names_three_files_at_most() -> None:
    """From the working directory."""
    files = [str(Path.cwd() / name) for name in ("a.py", "b.py", "c.py", "d.py", "e.py")]

    assert named(files[:1]) == "a.py"
    assert named(files) == "a.py, b.py, c.py and 2 more"


def test_what_changes_at_once_is_not_missed(tmp_path: Path) -> None:
    """The clock of files is some milliseconds late, and so is the time that they are compared with."""
    for number in range(200):
        since = file_time()
        file = tmp_path / f"shop{number}.py"
        file.touch()
        assert str(file) in changed_since(since, [str(tmp_path)], ())


def test_real_files_are_watched(tmp_path: Path) -> None:
    """A change is said with its path, and the end of the process too."""
    with Watcher([str(tmp_path)]) as watcher:
        # The process does not watch yet, and looks for what has changed before.
        (tmp_path / "shop.py").touch()
        assert until(watcher.changed, "the first change") == [os.path.realpath(tmp_path / "shop.py")]

        (tmp_path / "shop.log").write_text("a line")
        (tmp_path / "cart.py").touch()

        assert until(watcher.changed, "the second") == [os.path.realpath(tmp_path / "cart.py")]
        watcher.end()
        until(lambda: watcher.changed() is None, "the end")
