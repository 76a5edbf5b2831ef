"""`qcore demo` on real files, with and without chaos."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.portable

FIGURES = ["files", "parsed", "failed", "kills", "reruns", "lost", "seconds", "tasks_per_second"]


def demo(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end."""
    return subprocess.run(
        [sys.executable, "-m", "qcore", "demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, **(env or {})},
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder with files good and bad."""
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "good.py").write_text("class A:\n    def f(self): ...\n\nasync def g(): ...\n")
    (root / "sub" / "empty.py").write_text("")
    (root / "warns.py").write_text("assert (1, 'always')\nx = '\\d'\n1 is 1\n")
    (root / "syntax.py").write_text("x = 1\ndef f(:\n")
    (root / "null.py").write_bytes(b"x = 1\0\n")
    (root / "latin.py").write_bytes(b"x = '\xe9'\n")
    (root / "deep.py").write_text(f"x = {'(' * 5000}{')' * 5000}\n")
    (root / "dangling.py").symlink_to(root / "nowhere.py")
    (root / "notes.txt").write_text("no Python")
    os.mkfifo(root / "pipe.py")
    with open(os.path.join(os.fsencode(root), b"\xff\x1b[31m.py"), "w") as file:
        file.write("def f(:\n")
    return root


def test_the_summary_names_each_file_that_does_not_parse(tree: Path) -> None:
    """Lines, definitions and reasons; a file that does not parse is not a lost one."""
    done = demo(tree, "--workers", "2")

    assert done.returncode == 0
    assert "files        9, 6 of them do not parse" in done.stdout
    assert "lines        7\ndefinitions  3\n" in done.stdout
    assert "lost         nothing" in done.stdout
    assert "does not parse: syntax.py: SyntaxError: invalid syntax (line 2)" in done.stdout
    assert "does not parse: dangling.py: FileNotFoundError" in done.stdout
    assert "null bytes" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_warnings_of_the_files_do_not_spill(tree: Path) -> None:
    """Neither do log lines: what is printed is the demo's own."""
    done = demo(tree, env={"PYTHONWARNINGS": "always::SyntaxWarning,always::DeprecationWarning"})

    assert "Warning" not in done.stdout + done.stderr
    first, *others = done.stderr.splitlines()
    assert first == f"parsing 9 files: {tree}"
    # on a busy machine it tells how far it has come
    assert [one for one in others if not re.fullmatch(r"\d of 9 files \(\d+ %\).*", one)] == []


def test_json_is_exactly_one_object(tree: Path) -> None:
    """With the figures that were promised, and nothing beside it."""
    done = demo(tree, "--json")

    told = json.loads(done.stdout)
    assert list(told) == FIGURES
    assert {key: told[key] for key in FIGURES[:6]} == {
        "files": 9,
        "parsed": 3,
        "failed": 6,
        "kills": 0,
        "reruns": 0,
        "lost": 0,
    }
    assert done.stderr == ""


def test_one_file_is_enough(tree: Path) -> None:
    """PATH may be a file, whatever it is called."""
    done = demo(tree / "notes.txt", "--json")

    assert json.loads(done.stdout)["failed"] == 1


def test_nothing_to_parse_is_said(tmp_path: Path) -> None:
    """A folder without Python and a path that is not there."""
    empty, missing = demo(tmp_path), demo(tmp_path / "missing")

    assert (empty.returncode, missing.returncode) == (1, 2)
    assert "no Python file can be found under" in empty.stderr
    assert "does not exist" in missing.stderr


def test_the_demo_touches_nothing_of_the_users(tree: Path, tmp_path: Path) -> None:
    """Its queue is temporary, and the user's settings are not read."""
    state, temporary = tmp_path / "state", tmp_path / "temporary"
    temporary.mkdir()

    done = demo(
        tree,
        "--json",
        env={"XDG_STATE_HOME": str(state), "TMPDIR": str(temporary), "QCORE_WORKERS": "none of it"},
    )

    assert done.returncode == 0
    assert not state.exists()
    assert list(temporary.iterdir()) == []


@pytest.mark.chaos
@pytest.mark.slow
def test_chaos_loses_nothing(tmp_path: Path) -> None:
    """Files of the standard library are parsed to their end while workers are killed."""
    files = [file for file in Path(os.__file__).parent.rglob("*.py") if file.stat().st_size > 4000]
    count = 400
    while True:
        folder = tmp_path / f"{count}"
        folder.mkdir()
        for number in range(count):
            (folder / f"{number}.py").symlink_to(files[number % len(files)])

        done = demo(folder, "--chaos", "--json", "--workers", "2")

        told = json.loads(done.stdout)
        assert done.returncode == 0
        assert told["lost"] == 0
        assert told["files"] == told["parsed"] + told["failed"] == count
        if told["kills"]:
            return
        # this machine was done before it was time to kill a worker
        count *= 2
