"""Starts `qcore run` in a folder as a fork, without an interpreter of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore_process import interpreter

if TYPE_CHECKING:
    from pathlib import Path

#: what the command does in the folder, from where it imports as `python -m qcore` does
_PROGRAM = """
import os, sys
for number in (1, 2):
    os.dup2({fd}, number)
os.close({fd})
os.chdir({folder!r})
sys.path.insert(0, {folder!r})
{before}
from qcore.cli import main
main(["run"])
"""


def run_in(folder: Path, before: str = "") -> Any:
    """Start it; what it says is appended to the file `log`. Return what `subprocess.Popen` would.

    Args:
        folder: where its configuration and its modules are.
        before: statements that are executed in its process at first.

    """
    with (folder / "log").open("ab") as log:
        program = _PROGRAM.format(fd=log.fileno(), folder=str(folder), before=before)
        return interpreter.start(program, log.fileno())
