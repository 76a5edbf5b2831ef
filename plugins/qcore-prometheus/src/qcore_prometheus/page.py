"""Writes metrics in the two formats that Prometheus reads."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from qcore_prometheus.families import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qcore_prometheus.families import Family

#: ends of the places of a histogram, as its samples name them
PLACES: Final = (*map(repr, BOUNDS), "+Inf")
#: Series of which the text is kept: four times what one cluster can have. Clusters elsewhere are more.
_MOST: Final = 4096


class Writer:
    """Writes pages.

    It keeps the text of each series around its numbers, which is the same on each page: to put labels
    together for each sample anew takes ten times as long as to write the page.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, tuple[str, ...]], str] = {}

    def write(self, families: Iterable[Family], *, openmetrics: bool = False) -> bytes:
        """Return a page in the text format, or in that of OpenMetrics."""
        if len(self._kept) > _MOST:
            self._kept.clear()
        kept, found = self._kept, list[str]()
        for family in families:
            name = family.name
            found.append(_head(name, family.text, family.kind, openmetrics))
            for labels, values in family.samples:
                lines = kept.get((name, labels))
                if lines is None:
                    lines = kept[name, labels] = _lines(family, labels)
                found.append(lines % values)
        if openmetrics:
            found.append("# EOF\n")
        # What cannot be encoded would take the whole page along.
        return "".join(found).encode("utf-8", "replace")


@cache
def _head(name: str, text: str, kind: str, openmetrics: bool) -> str:
    if kind == "counter" and not openmetrics:
        name += "_total"
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _lines(family: Family, labels: tuple[str, ...]) -> str:
    """Return the lines of a series with a gap for each value."""
    pairs = [*zip(family.labels, labels, strict=True)]
    if family.kind != "histogram":
        return _line(family.name + "_total" * (family.kind == "counter"), pairs)
    places = (_line(f"{family.name}_bucket", [*pairs, ("le", end)]) for end in PLACES)
    return "".join((*places, *(_line(f"{family.name}_{one}", pairs) for one in ("count", "sum"))))


def _line(name: str, labels: list[tuple[str, str]]) -> str:
    inside = ",".join(f'{label}="{_escape(value)}"' for label, value in sorted(labels))
    return f"{name}{{{inside}}} ".replace("%", "%%") + "%r\n"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
