"""Draws the dashboard from what a real Prometheus has recorded; run as a script, it prints it.

`recorded.json` has, for each panel, what its queries returned: a name, and pairs of seconds and value
for each line. A cluster with two workers ran for a minute, with tasks that fail and one that kills
its worker.
"""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECORDED: Final = Path(__file__).with_name("recorded.json")
_COLOURS: Final = ("#2f6f9f", "#d9822b", "#4c9a52", "#b5485d")
#: pixels of a unit of the grid, which is 24 wide, and what is left free inside of a panel
_X, _Y, _EDGE = 40, 26, 12
_TITLE: Final = 52

Line = tuple[str, list[tuple[float, float]]]


def _figure(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e6:.0f} MB"
    return f"{value:.3g}{' s' if unit == 's' else ''}"


def _panel(panel: dict[str, Any], lines: list[Line]) -> Iterator[str]:
    place, unit = panel["gridPos"], panel["fieldConfig"]["defaults"].get("unit", "")
    wide, high = place["w"] * _X - _EDGE, place["h"] * _Y - _EDGE
    yield f'<g transform="translate({place["x"] * _X + _EDGE},{place["y"] * _Y + _TITLE})">'
    yield f'<rect width="{wide}" height="{high}" rx="4" fill="#f6f8fa" stroke="#d5dbe1"/>'
    yield f'<text x="10" y="20" font-weight="bold">{escape(panel["title"])}</text>'
    most = max((value for _, points in lines for _, value in points), default=0.0)
    last = max((at for _, points in lines for at, _ in points), default=0.0) or 1.0
    top, bottom, left, right = 34.0, high - 34.0, 62.0, wide - 14.0
    yield f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#9aa6b2"/>'
    yield f'<text x="{left - 6}" y="{top + 4}" text-anchor="end">{_figure(most, unit)}</text>'
    yield f'<text x="{left - 6}" y="{bottom + 4}" text-anchor="end">0</text>'
    for number, (name, points) in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn = " ".join(
            f"{left + at / last * (right - left):.0f},{bottom - value / (most or 1.0) * (bottom - top):.0f}"
            for at, value in points
        )
        yield f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        x = left + number * (right - left) / max(1, len(lines))
        yield f'<text x="{x:.0f}" y="{high - 12}" fill="{colour}">{escape(name)}</text>'
    yield "</g>"


def draw() -> str:
    """Return the dashboard as SVG."""
    dashboard = json.loads((files("qcore_prometheus") / "dashboard.json").read_text("utf-8"))
    recorded = json.loads(_RECORDED.read_text("utf-8"))
    panels = dashboard["panels"]
    high = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in panels) * _Y + _TITLE + _EDGE
    title = "qcore: the dashboard, of one minute that a Prometheus recorded"
    made = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * _X + _EDGE} {high}" role="img"',
        ' font-family="DejaVu Sans, Verdana, Helvetica, sans-serif" font-size="11" fill="#16202a">',
        f"<title>{title}</title>",
        f'<rect width="{24 * _X + _EDGE}" height="{high}" fill="#ffffff"/>',
        f'<text x="{_EDGE}" y="32" font-size="16" font-weight="bold">{title}</text>',
    ]
    for panel in panels:
        made += _panel(panel, recorded[panel["title"]])
    return "\n".join([*made, "</svg>", ""])


if __name__ == "__main__":
    print(draw(), end="")
