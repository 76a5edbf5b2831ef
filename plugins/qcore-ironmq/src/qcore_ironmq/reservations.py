"""Which reservation a message is under by now: extending gives it another."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from qcore.errors import BackendRejected, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: seconds after which the file of a process that is no more is removed
_OLD: Final = 86400.0

# IronMQ extends a reservation by giving out another one; the old one is dead. The supervisor
# extends what its workers reserved, so a worker has to learn the new one before it settles, and
# must not settle while another is being given out. Both are on one machine: each worker has a
# file, locked by whoever extends or settles, in which the newest reservations stand.


class Tickets:
    """The reservations that took the place of others, by process and message."""

    def __init__(self, address: str) -> None:
        # not the user's runtime folder: that goes away when the user logs out, and clusters stay
        self._folder = Path(tempfile.gettempdir()) / f"qcore-ironmq-{os.getuid()}"
        self._address = hashlib.sha256(address.encode()).hexdigest()[:16]

    @contextlib.contextmanager
    def of(self, owner: str) -> Iterator[dict[str, str]]:
        """Lock the reservations of one process; what is changed in the block is kept."""
        try:
            with self._open(owner) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                known = _read(file)
                before = dict(known)
                try:
                    yield known
                finally:
                    if known != before:
                        file.seek(0)
                        file.write(json.dumps(known))
                        file.truncate()
        except OSError as exc:
            msg = f"reservations cannot be noted in {self._folder}: {exc.strerror}; see its owner and space"
            raise BackendUnavailable(msg) from exc

    def forget(self, owner: str) -> None:
        """Remove the file of a process that ends, and of those that are long gone."""
        with contextlib.suppress(OSError, BackendRejected):
            self._check()
            self._path(owner).unlink(missing_ok=True)
            for path in self._folder.iterdir():
                if path.stat().st_mtime < time.time() - _OLD:
                    path.unlink(missing_ok=True)

    def _open(self, owner: str) -> IO[str]:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._check()
        how = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(self._path(owner), how, 0o600), "r+", encoding="utf-8")

    def _check(self) -> None:
        """Refuse a folder that is not ours alone: its name can be guessed, and made by anybody."""
        found = self._folder.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        if not ours or found.st_mode & 0o777 != 0o700:
            raise BackendRejected(
                f"{self._folder} is not a folder of this user's alone, with mode 0700; remove it,"
                " or set TMPDIR to another place"
            )

    def _path(self, owner: str) -> Path:
        return self._folder / f"{self._address}-{owner}.json"


def _read(file: IO[str]) -> dict[str, str]:
    try:
        known = json.load(file)
    except (ValueError, RecursionError):
        # new, or its writer died amid a word: what it knew comes back when its time is over
        return {}
    pairs = known.items() if isinstance(known, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, str)}
