"""Decides which folders are watched, and which files in them."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: where modules are that users install and do not write
_INSTALLED: Final = tuple(
    {
        os.path.realpath(one)
        for one in (
            *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
            *site.getsitepackages(),
            site.getusersitepackages(),
        )
    }
)


def watched(path: Iterable[str]) -> list[str]:
    """Return the folders of `sys.path` with modules of the user's, without those inside of another."""
    found = {os.path.realpath(one) for one in path if Path(one).is_dir()}
    own = sorted(one for one in found if not is_installed(one))
    return [one for one in own if not any(one.startswith(f"{other}{os.sep}") for other in own)]


def is_installed(file: str) -> bool:
    """Return whether a file or folder belongs to an installed package, or to Python."""
    return f"{file}{os.sep}".startswith(tuple(f"{one}{os.sep}" for one in (*_INSTALLED, *_environments())))


def _environments() -> list[str]:
    """Return the virtual environment this process runs in; installing a package changes files in it."""
    return [os.path.realpath(sys.prefix)] if sys.prefix != sys.base_prefix else []
