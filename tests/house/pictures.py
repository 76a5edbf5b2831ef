"""The picture of the benchmark in the documents; run as a script, it draws it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.benchmarks import bars
from tests.house.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

PICTURES: Final = ROOT / "docs" / "pictures"
PERFORMANCE: Final = ROOT / "docs" / "explanation" / "performance.md"
#: rows of the table that are drawn
_SHOWN: Final = (
    "enqueue one by one",
    "enqueue in bulk",
    "drain, no results, defaults",
    "drain, results stored, defaults",
    "latency p50",
    "latency p99",
    "8 workers, Django, 40 models (PSS)",
    "kill -9 amid a task: runs again after",
)


def benchmark() -> str:
    """Draw the bars of the table that the page of the performance shows."""
    text = PERFORMANCE.read_text(encoding="utf-8")
    section = text.partition("\n## On Redis\n")[2].partition("\n## ")[0]
    compared = [row for row in bars.from_markdown(section) if row.label in _SHOWN]
    return bars.draw(compared, "qcore and five other queues on Redis")


DRAWN: Final[dict[str, Callable[[], str]]] = {"benchmark.svg": benchmark}


def main() -> None:
    """Draw each picture."""
    for name, draw in DRAWN.items():
        print(PICTURES / name)
        (PICTURES / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
