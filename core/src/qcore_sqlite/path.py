"""Decides where the database file lies and who may read it."""

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
    """Return where the queue `name` is kept if nothing is configured: the user's state directory."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "qcore" / f"{name}.db"


def database_path(settings: Settings) -> Path:
    """Return the file that holds the queue, whatever links lead to it."""
    own = settings.section("sqlite")
    path = None if own is None else own.path
    return Path(os.path.realpath(Path(path).expanduser() if path else default_path(settings.name)))


def prepare(path: str) -> None:
    """Make the file, readable by its owner only, and the directories it needs.

    Raises:
        BackendRejected: the file or a directory cannot be made.
    """
    place = Path(path)
    try:
        _make_directories(place.parent)
        if not place.exists():
            _refuse_deleted(place)
            _make_file(place)
    except OSError as exc:
        msg = (
            f"cannot make the queue's file {path}: {exc.strerror};"
            " give `sqlite.path` a place you may write to"
        )
        raise BackendRejected(msg) from exc
    if not place.is_file():
        msg = f"{path} is not a file; give `sqlite.path` the name of a file"
        raise BackendRejected(msg)
    if not (os.access(place, os.R_OK | os.W_OK) and os.access(place.parent, os.W_OK | os.X_OK)):
        # SQLite would open it for reading only and fail much later, at the first message
        msg = (
            f"no permission to write {path} and its directory;"
            " change the owner, or give `sqlite.path` another place"
        )
        raise BackendRejected(msg)


def _refuse_deleted(place: Path) -> None:
    """Refuse to begin an empty queue where another's file was taken away: it may be in use."""
    beside = [bell for bell in (f"{place}-work", f"{place}-done") if Path(bell).exists()]
    if beside:
        msg = (
            f"{place} was deleted, and processes that have it open would work on apart from you; stop them "
            f"and put it back, or delete {' and '.join(beside)} too to begin an empty queue"
        )
        raise BackendRejected(msg)


def _make_directories(directory: Path) -> None:
    missing = [place for place in (directory, *directory.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)


def _make_file(place: Path) -> None:
    # Linked into place rather than opened there: closing any descriptor of the database drops the
    # locks that other connections of this process hold on it.
    handle, temporary = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
    os.close(handle)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, place)
    finally:
        Path(temporary).unlink()
