"""The figures of a benchmark as bars, in SVG."""

from __future__ import annotations

import argparse
import json
import re
import sys
from html import escape
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: pixels
_WIDTH: Final = 860
_LABEL: Final = 92
_BAR: Final = 16
_GAP: Final = 4
_TITLE: Final = 24
_MARGIN: Final = 22
#: room for the figure behind the longest bar
_FIGURE: Final = 110
_COLUMNS: Final = 2
_OURS: Final = "#2f6fb5"
_PEER: Final = "#a9b7c6"
#: units of which less is better
_TIMES: Final = frozenset({"s", "ms", "us", "MB", "bytes"})


class Row(NamedTuple):
    """One measured row: a figure for each system, None where there is none."""

    label: str
    unit: str
    figures: Mapping[str, float | None]

    @property
    def better(self) -> str:
        """Say which bar is the good one."""
        return "less is better" if self.unit in _TIMES else "more is better"


def from_markdown(text: str) -> list[Row]:
    """Read the first table of a text that has a row `median ...`, units second, systems after them."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, _, *body = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    last = next(number for number, cell in enumerate(head) if cell.startswith("qcore :"))
    names = head[2:last]
    return [
        Row(cells[0], cells[1], dict(zip(names, map(_number, cells[2:last]), strict=True))) for cells in body
    ]


def from_json(text: str) -> list[Row]:
    """Read what `run.py --redis --json` has printed."""
    told: Mapping[str, Any] = json.loads(text)
    return [Row(row["row"]["label"], row["row"]["unit"], row["medians"]) for row in told["rows"]]


def _number(cell: str) -> float | None:
    return float(cell.replace(",", "").rstrip("*")) if re.match(r"[\d.,]+\*?$", cell) else None


def draw(rows: Sequence[Row], title: str) -> str:
    """Draw a block of bars for each row, two blocks side by side; each block has a scale of its own."""
    blocks = [list(_block(row)) for row in rows]
    width = _WIDTH // _COLUMNS
    made: list[str] = []
    top = 48
    for start in range(0, len(rows), _COLUMNS):
        pair = blocks[start : start + _COLUMNS]
        for column, block in enumerate(pair):
            made.append(f'<g transform="translate({_MARGIN + column * width} {top})">')
            made += [*block, "</g>"]
        top += _TITLE + max(map(_bars, rows[start : start + _COLUMNS])) * (_BAR + _GAP) + 18
    return "\n".join([*_head(title, top), *made, "</svg>", ""])


def _bars(row: Row) -> int:
    return sum(figure is not None for figure in row.figures.values())


def _head(title: str, height: int) -> Iterable[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
    yield '  font-family="DejaVu Sans, Verdana, Helvetica, sans-serif" font-size="12.5" fill="#16202a">'
    yield f"<title>{escape(title)}</title>"
    yield f'<rect width="{_WIDTH}" height="{height}" rx="10" fill="#ffffff"/>'
    yield f'<text x="{_MARGIN}" y="30" font-size="16" font-weight="bold">{escape(title)}</text>'


def _block(row: Row) -> Iterable[str]:
    yield f'<text y="12" font-weight="bold">{escape(row.label)}</text>'
    right = f'x="{_WIDTH // _COLUMNS - 40}" text-anchor="end" fill="#5b6b7c" font-size="11"'
    yield f'<text y="12" {right}>{row.unit}, {row.better}</text>'
    there = {name: figure for name, figure in row.figures.items() if figure is not None}
    most = max(there.values())
    room = _WIDTH // _COLUMNS - _LABEL - _FIGURE
    for number, (name, figure) in enumerate(there.items()):
        y = _TITLE + number * (_BAR + _GAP)
        long = max(1.0, room * figure / most)
        fill = _OURS if name == "qcore" else _PEER
        yield f'<text x="{_LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect x="{_LABEL}" y="{y}" width="{long:.1f}" height="{_BAR}" rx="2" fill="{fill}"/>'
        yield f'<text x="{_LABEL + long + 6:.1f}" y="{y + 12}">{_figure(figure)}</text>'


def _figure(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def main() -> int:
    """Draw what a run has printed with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("title", help="what stands above the bars")
    asked = parser.parse_args()
    sys.stdout.write(draw(from_json(sys.stdin.read()), asked.title))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
