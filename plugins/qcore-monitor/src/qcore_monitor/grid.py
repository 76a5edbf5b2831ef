"""Which columns fit a width, and how rows are set in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
from rich.text import Text

from qcore.cli.text import width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore_monitor.glyphs import Glyphs

#: Blanks between two columns.
_GAP: Final = 2


@attrs.frozen
class Column:
    """A column and how much it matters."""

    head: str
    #: cells without which it is better left out; None = as many as its widest needs: a figure is never cut
    least: int | None
    #: what is left out first has the lowest
    keep: int
    #: its cells end at one edge
    right: bool = False
    #: cells it always has, so that what stands behind it does not move with each figure
    steady: int = 0
    #: its cells are cut in the middle: names that differ at the end
    within: bool = False


@attrs.frozen
class Cell:
    """The content of one column of one row."""

    text: str
    style: str = ""
    #: made by us: blanks in it are meant
    own: bool = False


@attrs.frozen
class Grid:
    """Rows set in columns."""

    head: Text
    rows: tuple[Text, ...]
    #: heads of the columns there was room for
    shown: frozenset[str]


def grid(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], max_width: int, marks: Glyphs) -> Grid:
    """Set rows in as many columns as `max_width` cells allow."""
    texts = [[cell if cell.own else Cell(marks.text(cell.text), cell.style) for cell in row] for row in rows]
    widest = [
        max([column.steady, width(column.head), *(width(row[index].text) for row in texts)])
        for index, column in enumerate(columns)
    ]
    kept = _kept(columns, widest, max_width)
    widths = _widths(columns, widest, kept, max_width)
    head = [Cell(column.head) for column in columns]
    set_ = [_row(columns, row, widths, marks) for row in [head, *texts]]
    return Grid(set_[0], tuple(set_[1:]), frozenset(columns[index].head for index in kept))


def _least(column: Column, widest: int) -> int:
    return widest if column.least is None else min(widest, max(column.least, width(column.head)))


def _kept(columns: Sequence[Column], widest: Sequence[int], max_width: int) -> list[int]:
    """Return the places of the columns that fit, those that matter most."""
    kept = list(range(len(columns)))
    while len(kept) > 1 and sum(_least(columns[at], widest[at]) + _GAP for at in kept) - _GAP > max_width:
        kept.remove(min(kept, key=lambda at: columns[at].keep))
    return kept


def _widths(
    columns: Sequence[Column], widest: Sequence[int], kept: Sequence[int], max_width: int
) -> dict[int, int]:
    """Return the width of each column: at least what it needs, and what is left over to those cut."""
    widths = {at: _least(columns[at], widest[at]) for at in kept}
    left = max_width - sum(widths.values()) - _GAP * (len(kept) - 1)
    for at in sorted(kept, key=lambda at: -columns[at].keep):
        more = max(0, min(left, widest[at] - widths[at]))
        widths[at] += more
        left -= more
    if left < 0:
        # One column alone, and even that does not fit.
        widths[kept[0]] = max(1, max_width)
    return widths


def _row(columns: Sequence[Column], row: Sequence[Cell], widths: dict[int, int], marks: Glyphs) -> Text:
    made = Text()
    for number, (index, max_width) in enumerate(widths.items()):
        cell = row[index]
        cut = marks.cut_within if columns[index].within else marks.cut
        text = cut(cell.text, max_width)
        blanks = " " * (max_width - width(text))
        if number:
            made.append(" " * _GAP)
        made.append(f"{blanks}{text}" if columns[index].right else f"{text}{blanks}", cell.style or None)
    return made
