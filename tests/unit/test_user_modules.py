"""Mistakes in the user's modules: whose they are, and where."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qcore.cli import Exit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "a key of the tests of users' modules"
#: seconds until a command counts as hung
DEADLINE = 45


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what runs a command line in a folder with a configuration."""
    (tmp_path / "qcore.toml").write_text(f'secret_key = "{KEY}"\n[sqlite]\npath = "queue.db"\n')
    (tmp_path / "qcore.toml").chmod(0o600)

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "qcore", *arguments],
            cwd=tmp_path,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("source", "line", "told"),
    [
        ("import os\n\n1 / 0\n", 3, "ZeroDivisionError: division by zero"),
        ("import os\nfrom os import nothing_there\n", 2, "ImportError: cannot import name 'nothing_there'"),
        ("import no_such_library\n", 1, "ModuleNotFoundError: No module named 'no_such_library'"),
        ("def f(:\n    pass\n", 1, "SyntaxError: "),
        ("\nraise SystemExit('enough')\n", 2, "SystemExit: enough"),
        ("import qcore\napp = qcore.App()\n@app.task(colour=1)\ndef f(): ...\n", 3, "TypeError: "),
    ],
)
def test_a_mistake_in_the_module_is_told_as_the_users(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, source: str, line: int, told: str
) -> None:
    """The traceback begins with the user's first line; file and line are named; the code is 1."""
    (tmp_path / "wrong.py").write_text(source)

    done = run("run", "wrong:app")

    assert done.returncode == Exit.FAILED, done.stderr
    assert f"qcore: your module 'wrong' cannot be imported: {told}" in done.stderr
    assert f"at {tmp_path / 'wrong.py'}, line {line}" in done.stderr
    assert f'File "{tmp_path / "wrong.py"}", line {line}' in done.stderr
    assert "fault of qcore" not in done.stderr
    assert "importlib" not in done.stderr
    assert "cli/run.py" not in done.stderr


def test_a_mistake_in_what_the_module_imports_is_told_where_it_is(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The place is the line that raised, the traceback shows the way to it."""
    (tmp_path / "wrong.py").write_text("import deeper\n")
    (tmp_path / "deeper.py").write_text("import json\n\njson.loads('{')\n")

    done = run("run", "wrong:app")

    assert f"at {tmp_path / 'deeper.py'}, line 3" in done.stderr
    traceback = done.stderr.partition("Traceback")[2]
    assert traceback.index("wrong.py") < traceback.index("deeper.py")


@pytest.mark.portable
def test_a_result_waited_for_at_import_is_named_as_the_cause(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """That no cluster works on the queue is true, and no advice to who starts one."""
    source = "import qcore\napp = qcore.App()\napp.enqueue('math.sqrt', 4).result(wait=0.1)\n"
    (tmp_path / "wrong.py").write_text(source)

    done = run("run", "wrong:app")

    assert done.returncode == Exit.FAILED, done.stderr
    assert "your module 'wrong' waits for a result while it is imported, and no worker starts" in done.stderr
    assert "qcore run starts one" not in done.stderr
    assert f"at {tmp_path / 'wrong.py'}, line 3" in done.stderr


def test_a_mistake_in_a_preloaded_module_is_told_as_the_users(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The fork server imports it, and says the same."""
    (tmp_path / "wrong.py").write_text("import os\n\n1 / 0\n")

    done = run("run", QCORE_PRELOAD="wrong")

    assert done.returncode == Exit.FAILED, done.stderr
    assert "your module 'wrong' cannot be imported: ZeroDivisionError: division by zero" in done.stderr
    assert f"at {tmp_path / 'wrong.py'}, line 3" in done.stderr
    assert "zygote.py" not in done.stderr


@pytest.mark.portable
def test_a_mistake_in_a_module_that_a_preloaded_one_looks_for_is_told_as_that_ones(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """What sets a framework up imports modules of the user's, and is not itself at fault."""
    (tmp_path / "frame.py").write_text(
        "from qcore.user_modules import import_user_module\nimport_user_module('wrong')\n"
    )
    (tmp_path / "wrong.py").write_text("1 / 0\n")

    done = run("run", QCORE_PRELOAD="frame")

    assert done.returncode == Exit.FAILED, done.stderr
    assert "your module 'wrong' cannot be imported: ZeroDivisionError: division by zero" in done.stderr
    assert "'frame' cannot be imported" not in done.stderr


@pytest.mark.portable
@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("./tasks.py:app", "write tasks:app"),
        ("tasks.py", "write tasks:app"),
        ("./shop/tasks.py:queue", "write shop.tasks:queue"),
        (".tasks:app", "write tasks:app"),
        ("tasks.app", "write tasks:app"),
    ],
)
def test_a_path_is_answered_with_the_name_of_the_module(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, target: str, meant: str
) -> None:
    """What a shell completes is a path, and a module is wanted."""
    (tmp_path / "tasks.py").write_text("import qcore\napp = qcore.App()\n")

    done = run("run", target)

    assert done.returncode == Exit.USAGE, done.stderr
    assert meant in done.stderr


@pytest.mark.portable
@pytest.mark.parametrize("verb", [("enqueue", "math.sqrt", "2"), ("schedule", "list"), ("info",)])
def test_a_broker_class_that_fails_is_told_as_the_users(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, verb: tuple[str, ...]
) -> None:
    """Its module is the user's, whichever command imports it."""
    (tmp_path / "queues.py").write_text("import os\n\n1 / 0\n")

    done = run(*verb, QCORE_BROKER_CLASS="queues.Mine")

    assert "fault of qcore" not in done.stderr
    if verb[0] != "schedule":
        assert done.returncode == Exit.FAILED, done.stderr
        assert "your module 'queues' cannot be imported: ZeroDivisionError" in done.stderr
        assert f"at {tmp_path / 'queues.py'}, line 3" in done.stderr


@pytest.mark.portable
def test_a_broker_class_that_cannot_be_made_is_told_by_name(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """An error of its constructor names the class, file and line."""
    (tmp_path / "queues.py").write_text(
        "from qcore_sqlite import SqliteBroker\n\n\nclass Mine(SqliteBroker):\n"
        "    def __init__(self, settings):\n        {}['no such key']\n"
    )

    done = run("enqueue", "math.sqrt", "2", QCORE_BROKER_CLASS="queues.Mine")

    assert done.returncode == Exit.CONFIG, done.stderr
    assert "qcore: broker_class 'queues.Mine' cannot be made: KeyError: 'no such key'" in done.stderr
    assert f"at {tmp_path / 'queues.py'}, line 6" in done.stderr


@pytest.mark.portable
def test_a_plugin_whose_factory_fails_is_told_by_name(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The message names the plugin and its distribution."""
    (tmp_path / "stranger.py").write_text(
        "from qcore.hookspecs import hookimpl\n\n\ndef make(settings):\n    return 1 / 0\n\n\n"
        "@hookimpl\ndef qcore_settings():\n    return {'strange': dict}\n\n\n"
        "@hookimpl\ndef qcore_brokers():\n    return {'strange': make}\n"
    )
    about = tmp_path / "qcore_strange-1.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: qcore-strange\nVersion: 1.5\n")
    (about / "entry_points.txt").write_text("[qcore]\nstrange = stranger\n")

    (tmp_path / "qcore.toml").write_text(f'secret_key = "{KEY}"\n[strange]\n')

    done = run("enqueue", "math.sqrt", "2")

    assert done.returncode == Exit.CONFIG, done.stderr
    assert (
        "the broker 'strange' of the plugin strange (qcore-strange 1.5) cannot be made: ZeroDivisionError"
        in done.stderr
    )
    assert f"at {tmp_path / 'stranger.py'}, line 5" in done.stderr
