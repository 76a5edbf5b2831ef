"""Notices that a file of the database was deleted or replaced."""

from __future__ import annotations

import os
from typing import Final

from qcore.errors import QueueMissing

#: seconds between checks; a process that writes less often than that never writes to a deleted file
INTERVAL: Final = 0.02

#: device and inode, None for a file that does not exist
_Inode = tuple[int, int] | None


class Identity:
    """The files that make up one database, as this process opened them.

    The write-ahead log and the shared memory count as well: processes that have different ones do not
    see each other's messages, and their locks do not exclude each other.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._beside = (f"{path}-wal", f"{path}-shm")
        self._database: _Inode = None
        self._opened: tuple[_Inode, ...] = (None, None)

    @property
    def known(self) -> bool:
        """Whether the file has been opened before."""
        return self._database is not None

    def remember(self) -> None:
        """Take the file as it is now for the database, from now on."""
        self._database = _inode(self._path)

    def opened(self) -> None:
        """Take the log and the shared memory as they are now for those of the connection."""
        self._opened = tuple(_inode(path) for path in self._beside)

    def closed(self) -> None:
        """Forget them, because SQLite deletes them with the last connection."""
        self._opened = (None, None)

    def check(self) -> None:
        """See that all files are the ones that were opened.

        Raises:
            QueueMissing: one was deleted, moved or replaced.
        """
        if _inode(self._path) != self._database:
            raise _gone(self._path)
        for path, before in zip(self._beside, self._opened, strict=True):
            if before is not None and _inode(path) != before:
                raise _gone(path)


def _gone(path: str) -> QueueMissing:
    return QueueMissing(
        f"{path} was deleted, moved or replaced while it was in use, and what is written now would be lost;"
        " restore it, or restart every process that uses it"
    )


def _inode(path: str) -> _Inode:
    try:
        status = os.stat(path)  # noqa: PTH116 - this is done often, and a Path costs as much again
    except OSError:
        return None
    return status.st_dev, status.st_ino
