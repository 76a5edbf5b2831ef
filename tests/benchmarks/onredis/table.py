"""How the table is written: as text or Markdown, and as JSON."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from tests.benchmarks.onredis.field import session_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.benchmarks.onredis.rounds import Line, Taken


def as_json(
    measured: Sequence[Line], taken: Taken, circumstances: Mapping[str, object], setups: Mapping[str, str]
) -> str:
    """Write everything, each round's figure in it."""
    rows = []
    for line in measured:
        told = line._asdict()
        told["row"] = line.row._asdict()
        rows.append(told)
    failed = [{"name": name, "session": session, "why": why} for (name, session), why in taken.failed.items()]
    whole = {"circumstances": circumstances, "setups": setups, "rows": rows, "failed": failed}
    return json.dumps(whole, indent=2)


def as_text(
    measured: Sequence[Line],
    taken: Taken,
    circumstances: Mapping[str, object],
    setups: Mapping[str, str],
    limit: float,
) -> str:
    """Write a table that is Markdown as well, then what went wrong, then how each was set up."""
    names = list(measured[0].medians)
    head = ["median", "", *names, "qcore : best peer", "target"]
    body = [
        [
            line.row.label,
            line.row.unit,
            *(_cell(line, name, taken, limit) for name in names),
            f"{figure(line.ratio)} x {line.best}" if line.ratio is not None else "",
            _target(line),
        ]
        for line in measured
    ]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    left = 2
    rule = ["-" * width if number < left else "-" * (width - 1) + ":" for number, width in enumerate(widths)]
    table = ["| " + " | ".join(_aligned(cells, widths, left)) + " |" for cells in ([*head], [*rule], *body)]
    failed = [f"{name}, {session}: {why}" for (name, session), why in taken.failed.items()]
    if failed:
        table += ["", "Failed; a figure marked * is of the rounds before:", *failed]
    told = ", ".join(f"{name} {value}" for name, value in circumstances.items())
    return "\n".join([*table, "", told, *(f"{name}: {words}" for name, words in setups.items())])


def _aligned(cells: Sequence[str], widths: Sequence[int], left: int) -> list[str]:
    return [
        cell.ljust(width) if number < left else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]


def _cell(line: Line, name: str, taken: Taken, limit: float) -> str:
    value, failed = line.medians[name], (name, session_of(name, line.row)) in taken.failed
    if value is None:
        return "failed" if failed else "-"
    told = f"not in {limit:g} s" if math.isinf(value) else figure(value)
    return f"{told}*" if failed else told


def _target(line: Line) -> str:
    if line.row.target is None:
        return ""
    sign = ">=" if line.row.more_is_better else "<="
    unit = f" {line.row.unit}".rstrip() if line.row.absolute else " x"
    verdict = {True: "met", False: "missed", None: "not measured"}[line.met]
    return f"{sign} {line.row.target:g}{unit}: {verdict}"


def figure(value: float) -> str:
    """Write a figure with three digits that mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
