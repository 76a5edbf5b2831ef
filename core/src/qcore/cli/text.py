"""How text, numbers and tables reach a terminal."""

from __future__ import annotations

import json
import math
import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING, Any, Final

import click

from qcore_text.sanitize import JOINERS, clean, line
from qcore_text.wording import counted as counted  # noqa: PLC0414 - commands of plugins use it
from qcore_text.wording import typed as typed  # noqa: PLC0414 - as above

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: how a command is asked for one JSON object, which `say_json` prints: a decorator
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
#: Cells a column is left with at least, where room is short.
_SOFTEST: Final = 8
#: Cells from which on a column holds sentences, and no names.
_SENTENCE: Final = 40


def shown(value: object) -> str:
    """Return a task's value as people read it: text as it is, JSON where it can be, else its repr."""
    if isinstance(value, str):
        return clean(value)
    try:
        return clean(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return clean(repr(value))


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a task returned
    """Return a value that JSON can hold: itself, or its repr."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
    return value


def say(text: str = "", *, error: bool = False) -> None:
    """Print a line."""
    click.echo(text, err=error)


def say_json(value: object) -> None:
    """Print one JSON object on one line; ASCII, so that nothing in it moves a terminal."""
    click.echo(json.dumps(value))


def fit(text: str, *, error: bool = False) -> str:
    """Return a line cut to the width of the terminal it is for; whole in a pipe."""
    stream = sys.stderr if error else sys.stdout
    return cut(text, shutil.get_terminal_size().columns) if stream.isatty() else text


def cut(text: str, max_width: int | None, more: str = "...") -> str:
    """Return a line that takes at most `max_width` cells, its end cut off for `more`; None = whole."""
    if max_width is None or width(text) <= max_width:
        return text
    left, kept = max_width - len(more), []
    for char in text:
        left -= _cells(char)
        if left < 0:
            break
        kept.append(char)
    return f"{''.join(kept)}{more}"[: max(0, max_width)]


def cut_within(text: str, max_width: int, more: str = "...") -> str:
    """Return a line that takes at most `max_width` cells, cut in its middle."""
    if width(text) <= max_width:
        return text
    left = max_width - len(more)
    if left < 2:
        return cut(text, max_width, more)
    head, tail = left - left // 2, cut(text[::-1], left // 2, "")[::-1]
    return f"{cut(text, head, '')}{more}{tail}"


def width(text: str) -> int:
    """Return how many cells of a terminal a cleaned line takes."""
    if text.isascii():
        return len(text)
    return sum(_cells(char) for char in text)


def _cells(char: str) -> int:
    if char in JOINERS or unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def table(
    rows: Iterable[Sequence[object]],
    heads: Sequence[str] = (),
    *,
    right: Sequence[str] = (),
    soft: Sequence[str] = (),
) -> None:
    """Print rows in columns: cut to the width of a terminal, whole in a pipe."""
    for text in columns(rows, heads, right=right, soft=soft, max_width=max_width()):
        say(fit(text))


def max_width() -> int | None:
    """Return the width of the terminal that standard output is, None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def columns(
    rows: Iterable[Sequence[object]],
    heads: Sequence[str] = (),
    *,
    right: Sequence[str] = (),
    soft: Sequence[str] = (),
    max_width: int | None = None,
) -> list[str]:
    """Return rows as lines of columns.

    Args:
        rows: the cells of each row.
        heads: one for each column.
        right: heads of columns whose cells end at one edge.
        soft: heads of columns that are cut, in the middle, where the lines are wider than `max_width`.
        max_width: cells of a terminal.

    """
    texts = [[line(str(cell)) for cell in row] for row in rows]
    if not texts:
        return []
    if heads:
        texts.insert(0, [head.upper() for head in heads])
    ends = [head in right for head in heads] or [False] * len(texts[0])
    widths = [max(width(row[index]) for row in texts) for index in range(len(texts[0]))]
    if max_width is not None:
        _narrow(widths, [index for index, head in enumerate(heads) if head in soft], max_width)
    return ["  ".join(_set(*one) for one in zip(row, widths, ends, strict=True)).rstrip() for row in texts]


def _narrow(widths: list[int], soft: Sequence[int], max_width: int) -> None:
    """Make columns narrower until they fit, the widest first, but none too narrow to be read."""
    while soft and sum(widths) + 2 * (len(widths) - 1) > max_width:
        widest = max(soft, key=lambda index: widths[index])
        if widths[widest] <= _SOFTEST:
            return
        widths[widest] -= 1


def _set(cell: str, max_width: int, end: bool) -> str:
    # A name that is cut is short; in a sentence one mark would be taken for a letter.
    text = cut_within(cell, max_width, "~" if max_width < _SENTENCE else "...")
    blanks = " " * (max_width - width(text))
    return f"{blanks}{text}" if end else f"{text}{blanks}"


def seconds(value: float) -> str:
    """Return a span of time as people say it: `0.4 s`, `12 s`, `3 min`, `2 h`, `5 d`."""
    if not math.isfinite(value):
        return "?"
    value = max(0.0, value)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if value >= 2 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
