"""Watches the files of a program, in a process of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from qcore.errors import ConfigError
from qcore_reload.changes import file_time
from qcore_reload.folders import watched

if TYPE_CHECKING:
    from collections.abc import Iterable

_NEEDED: Final = "watchfiles"


def check_installed() -> None:
    """Refuse to watch without the package that does it.

    Raises:
        ConfigError: it is not installed; the message says how to install it.

    """
    if importlib.util.find_spec(_NEEDED) is None:
        what = (
            f"the package {_NEEDED}, which is not installed; in a clone of qcore, pip install ./core[reload]"
        )
        raise ConfigError([f"--reload needs {what}"])


class Watcher:
    """Tells which files of the user's modules have changed, once they are quiet."""

    def __init__(self, path: Iterable[str]) -> None:
        """Begin to watch the folders of `sys.path` that have modules of the user's.

        Raises:
            ConfigError: the package that does it is not installed, or there is no such folder.

        """
        check_installed()
        self.folders = watched(path)
        if not self.folders:
            what = "sys.path has only installed packages; start it where your modules are"
            raise ConfigError([f"--reload: there is nothing to watch, because {what}"])
        source = str(Path(__file__).resolve().parents[1])
        program = f"import sys; sys.path.append({source!r}); from qcore_reload.changes import main"
        call = f"main({os.getpid()}, {file_time()}, sys.argv[1:])"
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a program written here
            [sys.executable, "-c", f"{program}; {call}", *self.folders],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # A terminal's Ctrl-C is for the supervisor, which ends this process.
            start_new_session=True,
        )
        if self._process.stdout is None:
            msg = "a pipe was asked for"
            raise AssertionError(msg)
        self._pipe = self._process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self._rest = b""

    def fileno(self) -> int:
        """Return the descriptor that can be read when files have changed."""
        return self._pipe.fileno()

    def changed(self) -> list[str] | None:
        """Return the files that have changed since, None if they are not watched any more."""
        data = self._pipe.read()
        if data == b"":
            return None
        *lines, self._rest = (self._rest + (data or b"")).split(b"\n")
        return sorted({file for line in lines for file in json.loads(line)})

    def __enter__(self) -> Self:
        """Watch within a `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Watch no more."""
        self.end()
        self._pipe.close()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def forget(files: Iterable[str]) -> None:
    """Remove the compiled code of files: a change of the same second and size passes for none."""
    for file in files:
        with contextlib.suppress(OSError):
            Path(importlib.util.cache_from_source(file)).unlink()


def named(files: list[str]) -> str:
    """Return which files have changed, from the working directory, at most three of them."""
    shown = [os.path.relpath(file) for file in files[:3]]
    more = f" and {len(files) - len(shown)} more" if len(files) > len(shown) else ""
    return ", ".join(shown) + more
