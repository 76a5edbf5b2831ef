"""Decides how files change their state by moving between folders."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAITING, LEASED, DEAD_LETTERS, REASONS, NEW = "waiting", "leased", "dead-letters", "reasons", "new"
NS_PER_SECOND = 10**9


class Name(NamedTuple):
    """The fields in the name of a message's file."""

    #: nanoseconds since the epoch: from when it may be leased; of a dead letter: when it was dead-lettered
    when: int
    #: identifies the message and its lease; each lease gets a new one
    token: str
    deliveries: int = 0
    failures: int = 0
    crashes: int = 0

    def __str__(self) -> str:
        return f"{self.when:020d}-{self.token}-{self.deliveries}-{self.failures}-{self.crashes}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the fields in a file's name."""
        when, token, *counters = text.split("-")
        return cls(int(when), token, *map(int, counters))


def token() -> str:
    """Return a name that was never used before: 24 hexadecimal digits."""
    return os.urandom(12).hex()


class Spool:
    """One queue: a folder that has a folder for each state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for state in (WAITING, LEASED, DEAD_LETTERS, REASONS, NEW):
            (folder / state).mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self, state: str) -> list[str]:
        """Return the names of the files in one state, the oldest first."""
        return sorted(os.listdir(self.folder / state))  # noqa: PTH208 - names are wanted, not paths

    def write(self, state: str, name: str, body: bytes) -> None:
        """Write a file, which appears in its folder only when it is complete."""
        draft = self.folder / NEW / token()
        draft.write_bytes(body)
        draft.rename(self.folder / state / name)

    def read(self, state: str, name: str) -> bytes:
        """Return the content of a file, b"" if the file does not exist."""
        try:
            return (self.folder / state / name).read_bytes()
        except FileNotFoundError:
            return b""

    def move(self, state: str, name: str, to: str, new: Name) -> bool:
        """Change a file's state atomically; return whether this process did it, and not another one."""
        try:
            (self.folder / state / name).rename(self.folder / to / str(new))
        except FileNotFoundError:
            return False
        return True

    def remove(self, state: str, name: str) -> bool:
        """Remove a file; return whether this process did it, and not another one."""
        try:
            (self.folder / state / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def set_lease_end(self, state: str, name: str, end: int) -> None:
        """Set when the lease of a file ends, in nanoseconds since the epoch."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.folder / state / name, ns=(end, end))

    def expired(self, now: int) -> Iterator[str]:
        """Yield the names of the leased files whose lease has expired."""
        for entry in os.scandir(self.folder / LEASED):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat().st_mtime_ns <= now:
                    yield entry.name
