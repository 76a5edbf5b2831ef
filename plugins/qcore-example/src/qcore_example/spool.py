"""Files that change their state by moving from folder to folder."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAITING, LEASED, DEAD_LETTERS, REASONS, NEW = "waiting", "leased", "buried", "reasons", "new"
SECOND = 10**9


class Name(NamedTuple):
    """What the name of a message's file tells."""

    #: nanoseconds since the epoch from when it may be leased; for a dead letter: when it was buried
    when: int
    #: names the message, and a lease of it: made anew with each lease
    token: str
    deliveries: int = 0
    failures: int = 0
    crashes: int = 0

    def __str__(self) -> str:
        return f"{self.when:020d}-{self.token}-{self.deliveries}-{self.failures}-{self.crashes}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Return what a file's name tells."""
        when, token, *counters = text.split("-")
        return cls(int(when), token, *map(int, counters))


def token() -> str:
    """Return a name that was never used before."""
    return os.urandom(12).hex()


class Spool:
    """One queue: a folder with a folder for each state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for state in (WAITING, LEASED, DEAD_LETTERS, REASONS, NEW):
            (folder / state).mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self, state: str) -> list[str]:
        """Return the files of one state, the oldest first."""
        return sorted(os.listdir(self.folder / state))  # noqa: PTH208 - names are wanted, not paths

    def write(self, state: str, name: str, body: bytes) -> None:
        """Put a file there whole."""
        draft = self.folder / NEW / token()
        draft.write_bytes(body)
        draft.rename(self.folder / state / name)

    def read(self, state: str, name: str) -> bytes:
        """Return what is in a file, b"" if there is none."""
        try:
            return (self.folder / state / name).read_bytes()
        except FileNotFoundError:
            return b""

    def move(self, state: str, name: str, to: str, new: Name) -> bool:
        """Change a state: whole or not at all, and by one process only; return whether it was us."""
        try:
            (self.folder / state / name).rename(self.folder / to / str(new))
        except FileNotFoundError:
            return False
        return True

    def remove(self, state: str, name: str) -> bool:
        """Remove a file; return whether it was us."""
        try:
            (self.folder / state / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def set_end(self, state: str, name: str, end: int) -> None:
        """Let the lease of a file end then."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.folder / state / name, ns=(end, end))

    def ended(self, now: int) -> Iterator[str]:
        """Yield the files whose lease is over."""
        for entry in os.scandir(self.folder / LEASED):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat().st_mtime_ns <= now:
                    yield entry.name
