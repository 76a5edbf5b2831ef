"""Decides which file is the database and who may read it."""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qcore.errors import BackendRejected, QueueMissing
from qcore_text.wording import typed

if TYPE_CHECKING:
    from qcore.interfaces import Settings


#: what follows the name of the database in the names of the files that belong to it
SUFFIXES: Final = ("-wal", "-shm", "-work", "-done")


def default_path(name: str) -> Path:
    """Return the file of the queue `name` in the user's state directory, used if no path is configured."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "qcore" / f"{name}.db"


def database_path(settings: Settings) -> Path:
    """Return the file that holds the queue, with symbolic links resolved."""
    section = settings.section("sqlite")
    path = None if section is None else section.path
    return Path(os.path.realpath(path.expanduser() if path else default_path(settings.name)))


def missing(path: str) -> QueueMissing:
    """Return the error for a queue that nobody has put anything into."""
    remedy = "check the path if there should be one"
    if Path(path) == Path(os.path.realpath(default_path(Path(path).stem))):
        remedy = "no setting names another path; if there should be one, run this below your qcore.toml"
    return QueueMissing(
        f"there is no queue at {path} yet; the first task that is enqueued makes it, and so does "
        f"{typed('run')}: {remedy}"
    )


def prepare(path: str, *, create: bool) -> None:
    """See that there is a file that can be used.

    Args:
        path: the file.
        create: make it, readable by its owner only, and its directories.

    Raises:
        BackendRejected: the file or a directory cannot be created or written.
        QueueMissing: there is none and none is made, or it was deleted while processes had it open.
    """
    file = Path(path)
    try:
        if not file.exists():
            _refuse_deleted(file)
            if not create:
                raise missing(path)
            _make_directories(file.parent)
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
    left = [name for suffix in SUFFIXES if Path(name := f"{file}{suffix}").exists()]
    if left:
        msg = (
            f"{file} was deleted, and processes that have it open would use another queue than you; stop them"
            f" and restore it, or start over with: rm {shlex.join(left)}"
        )
        raise QueueMissing(msg)


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
