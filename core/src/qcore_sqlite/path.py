"""Decides which file is the database and who may read it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qcore.errors import BackendRejected

if TYPE_CHECKING:
    from qcore.interfaces import Settings


def default_path(name: str) -> Path:
    """Return the file of the queue `name` in the user's state directory, used if no path is configured."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "qcore" / f"{name}.db"


def database_path(settings: Settings) -> Path:
    """Return the file that holds the queue, with symbolic links resolved."""
    section = settings.section("sqlite")
    path = None if section is None else section.path
    return Path(os.path.realpath(path.expanduser() if path else default_path(settings.name)))


def prepare(path: str) -> None:
    """Create the file, readable by its owner only, and its directories.

    Raises:
        BackendRejected: the file or a directory cannot be created or written.
    """
    file = Path(path)
    try:
        _make_directories(file.parent)
        if not file.exists():
            _refuse_deleted(file)
            _make_file(file)
    except OSError as exc:
        msg = (
            f"cannot create the database file {path}: {exc.strerror};"
            " set `sqlite.path` to a file in a directory you may write to"
        )
        raise BackendRejected(msg) from exc
    if not file.is_file():
        msg = f"{path} is not a file; set `sqlite.path` to the name of a file"
        raise BackendRejected(msg)
    if not (os.access(file, os.R_OK | os.W_OK) and os.access(file.parent, os.W_OK | os.X_OK)):
        # SQLite would open the file for reading only, and fail later, at the first message
        msg = (
            f"no permission to write {path} and its directory;"
            " change the owner, or set `sqlite.path` to another file"
        )
        raise BackendRejected(msg)


def _refuse_deleted(file: Path) -> None:
    """Refuse to create an empty database if one was deleted, because a process may still have it open."""
    wakeup_files = [name for name in (f"{file}-work", f"{file}-done") if Path(name).exists()]
    if wakeup_files:
        msg = (
            f"{file} was deleted, and processes that have it open would use another queue than you;"
            f" stop them and restore it, or delete {' and '.join(wakeup_files)} as well to start anew"
        )
        raise BackendRejected(msg)


def _make_directories(directory: Path) -> None:
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def _make_file(file: Path) -> None:
    # Created under another name and linked, because closing any descriptor of the database file drops
    # the locks that other connections of this process hold on it.
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    os.close(handle)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        Path(temporary).unlink()
