"""How progress is shown: a bar on a terminal, else lines."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Final, Protocol, Self

import click

if TYPE_CHECKING:
    from types import TracebackType

#: Seconds between two lines in a pipe.
_LINES_EVERY: Final = 2.0
#: Seconds between two paintings of a bar.
_PAINT_EVERY: Final = 0.1
#: Back to the first column and the line wiped.
_ANEW: Final = "\r\x1b[K"


class Progress(Protocol):
    """Shows how far it is; on standard error, so that standard output holds the outcome alone."""

    def show(self, done: int, note: str = "") -> None:
        """Show that `done` are done."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was found."""


def progress(total: int, what: str, *, silent: bool = False) -> Progress:
    """Return a bar if standard error is a terminal, else lines; or nothing at all."""
    if silent:
        return Silent()
    return Bar(total, what) if sys.stderr.isatty() else Lines(total, what)


class Silent:
    """Shows nothing."""

    def show(self, done: int, note: str = "") -> None:
        """Show nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""


class Lines(Silent):
    """A line now and then."""

    def __init__(self, total: int, what: str) -> None:
        self._total = total
        self._what = what
        self._next = time.monotonic() + _LINES_EVERY

    def show(self, done: int, note: str = "") -> None:
        """Print a line if the last one is old enough."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINES_EVERY
            percent = 100 * done // max(1, self._total)
            tail = f", {note}" if note else ""
            click.echo(f"{done:,} of {self._total:,} {self._what} ({percent} %){tail}", err=True)


class Bar(Silent):
    """A bar of plain characters on one line."""

    def __init__(self, total: int, what: str) -> None:
        self._total = total
        self._what = what
        self._painted = 0.0
        # A full line would move the next painting to the line below.
        self._room = shutil.get_terminal_size().columns + len(_ANEW) - 1

    def show(self, done: int, note: str = "") -> None:
        """Paint the line again, at most ten times a second."""
        if done < self._total and time.monotonic() - self._painted < _PAINT_EVERY:
            return
        self._painted = time.monotonic()
        filled = 30 * done // max(1, self._total)
        bar = f"[{'#' * filled}{'.' * (30 - filled)}] {done:,}/{self._total:,} {self._what}"
        click.echo(f"{_ANEW}{bar}{f', {note}' if note else ''}"[: self._room], err=True, nl=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        click.echo(err=True)
