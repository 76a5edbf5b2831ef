"""Keeps what was moved, and what could not be."""

from __future__ import annotations

from typing import Final

#: problems of one kind that are shown
_SHOWN: Final = 50


class Report:
    """What one kind of rows came to."""

    def __init__(self, title: str) -> None:
        self.title = title
        #: rows that are moved, or would be
        self.moved = 0
        #: rows that an earlier run has moved, or whose name is taken
        self.before = 0
        #: rows that stay, a line for each
        self.problems: list[str] = []
        #: what is moved and is not as it was, or is to be known
        self.notes: list[str] = []

    def lines(self, *, dry_run: bool) -> list[str]:
        """Return what is said of it."""
        verb = "to move" if dry_run else "moved"
        before = f", {self.before} there already" if self.before else ""
        stay = f", {len(self.problems)} cannot be moved" if self.problems else ""
        return [
            f"{self.title}: {self.moved} {verb}{before}{stay}",
            *_shown("  cannot be moved: ", self.problems),
            *_shown("  note: ", self.notes),
        ]


def _shown(start: str, lines: list[str]) -> list[str]:
    more = [f"{start}and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [*(start + one for one in lines[:_SHOWN]), *more]
