"""Finds the user's line in the text of a traceback."""

from __future__ import annotations

import os
import re
import sysconfig
from pathlib import Path
from typing import Final

#: also within a group of exceptions, whose lines begin with a bar
_FRAME: Final = re.compile(r'^[ |]*File "(.+)", line (\d+)', re.MULTILINE)
#: where modules are that users install and do not write
_INSTALLED: Final = tuple(
    sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_OURS: Final = str(Path(__file__).resolve().parents[1] / "qcore")


def source_line(trace: str) -> str:
    """Return `FILE:LINE` of the deepest line that the user wrote; else of the deepest; else nothing.

    A file below the working directory is named from there.
    """
    found = [frame for frame in _FRAME.findall(trace) if not frame[0].startswith("<")]
    own = [frame for frame in found if not frame[0].startswith((*_INSTALLED, _OURS))]
    if not found:
        return ""
    file, number = (own or found)[-1]
    try:
        here = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118 - a prefix of texts
    except OSError:
        here = os.sep  # The folder is gone.
    name = file.removeprefix(here) if here != os.sep else file
    return f"{name}:{number}"
