"""How one process learns where another one hangs."""

from __future__ import annotations

import faulthandler
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

#: The signal that has a process write its stack; programs have little use for the last ones.
SIGNAL: Final = signal.SIGRTMAX - 3
#: The name of the memory it is written to, which is found by this name among the files of the process.
_NAME: Final = "qcore-stack"
#: Most bytes of a stack that are read, from its end.
_MOST: Final = 64 * 1024


def enable() -> None:
    """Have this process write the stack of its main thread on `SIGNAL`, even inside a call in C."""
    # Where there is no such memory, or no signal to be had, stacks are not known.
    with suppress(OSError, AttributeError, RuntimeError, ValueError):
        faulthandler.register(SIGNAL, os.memfd_create(_NAME), all_threads=False)


def read(pid: int) -> str:
    """Return the stack that a process has written last, empty if there is none."""
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if str(link.readlink()).startswith(f"/memfd:{_NAME}"):
                with link.open("rb") as file:
                    file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST))
                    text = file.read().decode("utf-8", "replace")
                return text[text.rfind("(most recent call first)") :] if text else ""
    return ""
