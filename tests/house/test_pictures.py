"""The pictures of the documents show what the code and the pages say."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks import bars
from tests.house.pages import pages
from tests.house.pictures import DRAWN, PICTURES

if TYPE_CHECKING:
    from pathlib import Path


def words(svg: str) -> list[str]:
    """Return the texts of a picture, in their order; colours and coordinates may change with rich."""
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter() if node.tag.endswith("}text")]  # noqa: S314 - our own file


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_what_would_be_drawn_today(name: str) -> None:
    """Run `python -m tests.house.pictures` after a change of the screen or of the figures."""
    assert words(DRAWN[name]()) == words((PICTURES / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted(PICTURES.glob("*.svg")), ids=lambda path: path.name)
def test_a_picture_is_shown_and_complete(path: Path) -> None:
    """A page shows it, and it asks no other machine for a font or a style."""
    text = path.read_text(encoding="utf-8")

    assert any(path.name in page.read_text(encoding="utf-8") for page in pages())
    assert "<title" in text
    assert set(re.findall(r"https?://[^\"' )]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_bars_are_as_long_as_their_figures() -> None:
    """Twice the figure is twice the bar, and what was not measured has none."""
    rows = [bars.Row("drain", "tasks/s", {"qcore": 200.0, "huey": 100.0, "rq": None})]
    drawn = bars.draw(rows, "a test")

    long, short = map(float, re.findall(r'width="([\d.]+)" height="16"', drawn))
    assert long == pytest.approx(2 * short)
    assert words(drawn) == ["a test", "drain", "tasks/s, more is better", "qcore", "200", "huey", "100"]


def test_bars_read_what_a_run_prints() -> None:
    """`run.py --redis --json` can be piped into the drawing."""
    medians = {"qcore": 0.3, "rq": 1.4}
    row = {"row": {"label": "latency p50", "unit": "ms"}, "medians": medians}

    assert bars.from_json(json.dumps({"rows": [row]})) == [bars.Row("latency p50", "ms", medians)]
