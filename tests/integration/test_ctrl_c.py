"""Ctrl-C ends a command without a traceback, however early it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.land import until

if TYPE_CHECKING:
    from pathlib import Path

#: a module that tells that it is being imported, and takes its time
SLOW = "import os, time\nopen(os.environ['IMPORTING'], 'w').close()\ntime.sleep(60)\n"
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
    out, err = process.communicate(timeout=45)
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
