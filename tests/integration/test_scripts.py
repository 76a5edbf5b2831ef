"""A program that defines its tasks and starts its cluster in the same file."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.land import lines

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.land import Land

HEAD = """
from qcore import App, Cluster, Config
config = Config.from_dict({settings!r})
app = App(config)

@app.task
def double(x: int) -> int:
    return 2 * x

def plain(x):
    return 3 * x

with open({witness!r}, "a") as file:
    print(__name__, file=file)
"""
GUARDED = (
    HEAD
    + """
if __name__ == "__main__":
    with Cluster(config):
        print(double.enqueue(21).result(wait=100), app.enqueue(plain, 2).result(wait=100))
"""
)
BARE = (
    HEAD
    + """
cluster = Cluster(config).start()
print(double.enqueue(21).result(wait=100), app.enqueue(plain, 2).result(wait=100))
cluster.stop()
"""
)
ITSELF = (
    HEAD.replace("{settings!r}", '{{**{settings!r}, "sync": True, "tasks_allowed": ALLOWED}}')
    + """
print(double.enqueue(21).result(), app.enqueue(plain, 2).result())
"""
)
FED_FIRST = (
    HEAD
    + """
job = double.enqueue(21)
cluster = Cluster(config).start()
print(job.result(wait=100), app.enqueue(plain, 2).result(wait=100))
cluster.stop()
"""
)
DEFINED_BELOW = (
    HEAD
    + """
cluster = Cluster(config).start()

@app.task(ack_failure=True)
def late(x):
    return x

print(late.enqueue(1).fetch(wait=100).error)
cluster.stop()
"""
)


def run(land: Land, text: str, *command: str, file: str = "script.py") -> subprocess.CompletedProcess[str]:
    """Write a program and run it in its own folder."""
    path = land.folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(settings=land.settings(preload=[]), witness=str(land.file())))
    return start(land.folder, *(command or (str(path),)))


def start(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter."""
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=150, check=False
    )


def test_script_with_a_guard_works(land: Land) -> None:
    """Tasks above the guard are found by the workers; what is under it is done once."""
    done = run(land, GUARDED)

    assert (done.stdout, done.returncode) == ("42 6\n", 0), done.stderr
    assert lines(land.file()).count("__main__") == 1


def test_script_without_a_guard_works(land: Land) -> None:
    """A worker imports the script up to the line that starts the cluster, and no further."""
    done = run(land, BARE)

    assert (done.stdout, done.returncode) == ("42 6\n", 0), done.stderr
    assert lines(land.file()).count("__main__") == 1


def test_script_that_enqueues_before_it_starts_works(land: Land) -> None:
    """A line that enqueues ends the import too: nothing is enqueued twice."""
    done = run(land, FED_FIRST)

    assert (done.stdout, done.returncode) == ("42 6\n", 0), done.stderr


def test_script_with_an_odd_file_name_works(land: Land) -> None:
    """A name that could not be imported by a statement is not a hindrance."""
    done = run(land, BARE, file="my-script 2.py")

    assert (done.stdout, done.returncode) == ("42 6\n", 0), done.stderr


def test_script_named_like_an_installed_module_works(land: Land) -> None:
    """The script wins over a module of the same name, in the workers too."""
    done = run(land, BARE, file="cluster.py")

    assert (done.stdout, done.returncode) == ("42 6\n", 0), done.stderr


def test_module_run_by_name_works(land: Land) -> None:
    """`python -m pkg.mod` works like a script."""
    (land.folder / "pkg").mkdir()
    (land.folder / "pkg" / "__init__.py").touch()
    done = run(land, GUARDED, "-m", "pkg.mod", file="pkg/mod.py")

    assert (done.stdout, done.returncode) == ("42 6\n", 0), done.stderr


def test_package_run_by_name_works(land: Land) -> None:
    """`python -m pkg` runs its `__main__`, and workers find the tasks in it."""
    (land.folder / "pkg").mkdir()
    (land.folder / "pkg" / "__init__.py").touch()
    done = run(land, BARE, "-m", "pkg", file="pkg/__main__.py")

    assert (done.stdout, done.returncode) == ("42 6\n", 0), done.stderr


def test_folder_run_as_a_program_works_or_says_what_to_do(land: Land) -> None:
    """`python folder` runs the `__main__.py` in it."""
    done = run(land, BARE, str(land.folder / "prog"), file="prog/__main__.py")

    assert done.stdout == "42 6\n" or "worker process could not import" in done.stderr, done.stderr


@pytest.mark.parametrize("allowed", [None, pytest.param(["*.double", "*.plain"], marks=pytest.mark.portable)])
@pytest.mark.parametrize(
    ("file", "command"), [("script.py", ()), ("pkg/mod.py", ("-m", "pkg.mod")), ("cluster.py", ())]
)
def test_script_that_runs_its_tasks_itself_is_run_once(
    land: Land, file: str, command: tuple[str, ...], allowed: list[str] | None
) -> None:
    """Under `sync` its tasks are those of the program that runs, not of a second copy of it."""
    (land.folder / "pkg").mkdir()
    (land.folder / "pkg" / "__init__.py").touch()
    done = run(land, ITSELF.replace("ALLOWED", repr(allowed)), *command, file=file)

    assert (done.stdout, done.returncode) == ("42 6\n", 0), done.stderr
    assert lines(land.file()) == ["__main__"]


def test_task_defined_below_the_start_is_told_what_to_do(land: Land) -> None:
    """What stands below the line that starts the cluster is not there for workers, and the error says so."""
    done = run(land, DEFINED_BELOW)

    assert "TaskNotFound: no task 'script.late'" in done.stdout
    assert 'put it under if __name__ == "__main__":' in done.stdout


def test_task_of_an_interactive_session_is_refused_with_advice(land: Land) -> None:
    """Code that is in no file cannot be imported by a worker; that is said where it is declared."""
    text = GUARDED.format(settings=land.settings(preload=[]), witness=os.devnull)

    done = start(land.folder, "-c", text)

    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "TaskNameError: double is defined in an interactive session" in last
    assert "move it to a module and import it from there" in last


def test_interactive_session_may_run_tasks_of_modules(land: Land) -> None:
    """A cluster started from `-c` runs what can be imported."""
    text = (
        f"from qcore import *\nconfig = Config.from_dict({land.settings(preload=[])!r})\n"
        "with Cluster(config): print(App(config).enqueue('math.sqrt', 16).result(wait=100))"
    )

    done = start(land.folder, "-c", text)

    assert (done.stdout, done.returncode) == ("4.0\n", 0), done.stderr


def test_script_that_fails_on_import_in_a_worker_says_so(land: Land) -> None:
    """An import that works only once fails the start with its traceback and leaves nothing running."""
    text = HEAD + 'if __name__ != "__main__": raise RuntimeError("only once")\nCluster(config).start()\n'

    done = run(land, text)

    assert done.returncode == 1
    assert "qcore.errors.StartFailed: the modules to preload could not be imported" in done.stderr
    assert "RuntimeError: only once" in done.stderr


def test_lambda_and_inner_function_are_refused_where_they_are_declared(land: Land) -> None:
    """What no worker could import is refused at once."""
    done = run(land, HEAD + "app.task(lambda: 1)\n")

    assert "is defined inside another function or is a lambda" in done.stderr.strip().splitlines()[-1]
