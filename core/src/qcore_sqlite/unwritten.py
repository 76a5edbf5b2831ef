"""Decides what is read of a database that nobody has written yet."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from qcore_sqlite import schema
from qcore_sqlite.path import SUFFIXES

if TYPE_CHECKING:
    from qcore.interfaces import Settings


class Unwritten:
    """Stands for a file that its first writer makes: whoever only looks reads an empty database."""

    def __init__(self, path: str, settings: Settings) -> None:
        self._files = [Path(f"{path}{suffix}") for suffix in ("", *SUFFIXES)]
        self._name = settings.name
        self._ended = not settings.make_when_written
        self._empty: sqlite3.Connection | None = None

    def connection(self) -> sqlite3.Connection | None:
        """Return a connection to an empty database; None if there is a file, or is to be one."""
        # files beside it are those of one that was deleted, which is an error
        self._ended = self._ended or any(file.exists() for file in self._files)
        if self._ended:
            return None
        if self._empty is None:
            self._empty = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            schema.create(self._empty, str(self._files[0]), self._name, claim=True)
        return self._empty

    def close(self) -> None:
        """Close the connection."""
        empty, self._empty = self._empty, None
        if empty is not None:
            empty.close()
