"""Ctrl-C ends a command without a traceback, however early it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.integration.land import alive, until

if TYPE_CHECKING:
    from pathlib import Path

#: a module that tells that it is being imported, and takes its time
SLOW = "import os, time\nopen(os.environ['IMPORTING'], 'w').close()\ntime.sleep(600)\n"
COMMAND = "from qcore_command.start import main; main()"


def interrupted(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command and press Ctrl-C once the slow module is being imported; return how it ended."""
    marker = folder / "importing"
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "IMPORTING": str(marker)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(marker.exists, "the module to be imported")
    # A terminal signals the whole group.
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=100)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.mark.parametrize("arguments", [("info",), ("enqueue", "os.getpid"), ("run", "tasks:app")])
def test_ctrl_c_while_the_command_itself_is_imported(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Most of the time of a short command passes before its first line."""
    (tmp_path / "click.py").write_text(SLOW)

    ended = interrupted(tmp_path, *arguments)

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "qcore: interrupted\n")


def test_ctrl_c_while_the_users_module_is_imported(tmp_path: Path) -> None:
    """The process that imports it ends, and says nothing of its own."""
    (tmp_path / "tasks.py").write_text(SLOW)

    ended = interrupted(tmp_path, "run", "tasks:app")

    assert ended.returncode == 130
    assert "Traceback" not in ended.stderr
    assert ended.stderr.endswith("qcore: interrupted\n")


#: a command amid whose clean-up Ctrl-C comes; a process forked from it does the same for itself
DESTRUCTOR = """
import os, signal, qcore.cli

class Cleaned:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        len("Python looks for signals between two steps")

def command(begin):
    begin()
    child = os.fork()
    if child == 0:
        Cleaned()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    Cleaned()
    print("it went on")

qcore.cli.main = command
from qcore_command.start import main; main()
"""


def test_ctrl_c_amid_a_destructor_is_not_dropped() -> None:
    """Python drops what is raised there and goes on; whoever pressed it would have to press it again."""
    ended = subprocess.run(
        [sys.executable, "-c", DESTRUCTOR], capture_output=True, text=True, check=False, timeout=100
    )

    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr.endswith("qcore: interrupted\n")
    # that of the child, which is a worker or what its task started: its own affair
    assert ended.stderr.count("Exception ignored") == 1


#: a program that starts a cluster, and lets Ctrl-C through or reports it
PROGRAM = """
import sys
from qcore import Cluster, Config

config = Config.from_dict({
    "name": "early", "workers": 2, "secret_key": "k" * 40, "preload": ["slow"], "log_level": "ERROR",
    "sqlite": {"path": "queue.db"},
})
try:
    with Cluster(config).start():
        print("started")
except KeyboardInterrupt:
    if "catch" not in sys.argv:
        raise
    print("caught")
    raise SystemExit(130)
"""


@pytest.mark.parametrize("signalled", ["group", "program"])
@pytest.mark.parametrize("catch", [True, False], ids=["caught", "let through"])
def test_ctrl_c_while_a_program_starts_a_cluster(tmp_path: Path, catch: bool, signalled: str) -> None:
    """`start` raises KeyboardInterrupt, and no process of the cluster is left; nothing else is printed."""
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "program.py").write_text(PROGRAM)
    marker = tmp_path / "importing"
    process = subprocess.Popen(
        [sys.executable, "program.py", *(["catch"] if catch else [])],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "IMPORTING": str(marker)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(marker.exists, "the module to be imported")
    pids = [one.pid for one in psutil.Process(process.pid).children(recursive=True)]

    # A terminal signals the whole group, and `kill -INT` or a debugger the program alone.
    if signalled == "group":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)

    until(lambda: not any(map(alive, pids)), "all processes of the cluster to end")
    assert len(pids) >= 2
    assert (process.returncode, out) == ((130, "caught\n") if catch else (-signal.SIGINT, ""))
    assert err.count("Traceback") == (0 if catch else 1)
    assert not catch or err == ""
    assert catch or err.endswith("KeyboardInterrupt\n")
