"""Notices that a file of the database was deleted or replaced."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from qcore.errors import QueueMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

#: seconds between checks; a process that writes less often than that never writes to a deleted file
INTERVAL: Final = 0.02
#: seconds after which an enqueue looks at the log and the shared memory, whose loss is rarer
INTERVAL_BESIDE: Final = 0.25

#: path, device, inode
_File = tuple[str, int, int]


class Identity:
    """The files that make up one database, as this process opened them.

    The write-ahead log and the shared memory count as well: processes that have different ones do not
    see each other's messages, and their locks do not exclude each other.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._beside = (f"{path}-wal", f"{path}-shm")
        self._main: list[_File] = []
        self._opened: list[_File] = []

    @property
    def known(self) -> bool:
        """Whether the file has been opened before."""
        return bool(self._main)

    def remember(self) -> None:
        """Take the file as it is now for the database, from now on."""
        self._main = _existing(self._path)

    def opened(self) -> None:
        """Take the log and the shared memory as they are now for those of the connection."""
        self._opened = _existing(*self._beside)

    def closed(self) -> None:
        """Forget them, because SQLite deletes them with the last connection."""
        self._opened = []

    def check(self) -> None:
        """See that all files are the ones that were opened.

        Raises:
            QueueMissing: one was deleted, moved or replaced.
        """
        _check(self._main)
        _check(self._opened)

    def check_main(self) -> None:
        """See that the database is the one that was opened.

        Raises:
            QueueMissing: it was deleted, moved or replaced.
        """
        _check(self._main)

    def check_beside(self) -> None:
        """See that its log and its shared memory are the ones that were opened.

        Raises:
            QueueMissing: one was deleted, moved or replaced.
        """
        _check(self._opened)


def _check(files: Sequence[_File]) -> None:
    for path, device, inode in files:
        try:
            status = os.stat(path)  # noqa: PTH116 - this is done often, and a Path costs as much again
        except OSError:
            raise _gone(path) from None
        if status.st_ino != inode or status.st_dev != device:
            raise _gone(path)


def _gone(path: str) -> QueueMissing:
    return QueueMissing(
        f"{path} was deleted, moved or replaced while it was in use, and what is written now would be lost;"
        " restore it, or restart every process that uses it"
    )


def _existing(*paths: str) -> list[_File]:
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            status = os.stat(path)  # noqa: PTH116 - as above
            found.append((path, status.st_dev, status.st_ino))
    return found
