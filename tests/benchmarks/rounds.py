"""Measure qcore and its peers alternately, so that all see the same weather."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.benchmarks.contest import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.benchmarks.contest import Cell, Peer, Row

_ROOT: Final = Path(__file__).resolve().parents[2]
#: Seconds after which the process of one measurement is killed.
_TIMEOUT: Final = 600


class Failed(Exception):
    """A measurement could not be taken, or what was measured lost a task or ran one twice."""


class Size(NamedTuple):
    """How much is done in one measurement."""

    rounds: int
    #: drained, and enqueued in bulk
    tasks: int
    #: enqueued one by one
    singles: int
    #: tasks at low load
    samples: int
    #: idle
    seconds: float

    def count(self, measure: str) -> int:
        """Return the number of tasks of a measurement."""
        return {"enqueue": self.singles, "latency": self.samples, "idle": 10}.get(measure, self.tasks)


#: figure -> one value a round
Figures = dict[str, list[float]]
Taken = dict[tuple[str, "Cell"], Figures]


def measure(peer: Peer, python: str, cell: Cell, size: Size) -> dict[str, float]:
    """Take one measurement, in a process and a folder of its own.

    Raises:
        Failed: it ended otherwise than with figures.

    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("QCORE_", "PYTHON"))}
    with tempfile.TemporaryDirectory(prefix="qcore-bench-") as folder:
        ran = subprocess.run(
            [python, "-m", "tests.benchmarks.inside", peer.module, cell.measure],
            cwd=folder,
            env={
                **kept,
                "PYTHONPATH": str(_ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                "BENCH_RESULTS": str(int(cell.results)),
                "BENCH_STYLE": cell.style,
                "BENCH_COUNT": str(size.count(cell.measure)),
                "BENCH_SECONDS": str(size.seconds),
            },
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    lines = ran.stdout.splitlines()
    what = f"{peer.name}, {cell.measure}"
    if ran.returncode or not lines:
        raise Failed(f"{what}: ended with status {ran.returncode}; what it printed stands above")
    figures: dict[str, float] = json.loads(lines[-1])
    if "odd" in figures:
        raise Failed(f"{what}: {figures['odd']}")
    return figures


def turns(rows: Sequence[Row], peers: Sequence[Peer], size: Size) -> Iterator[tuple[Peer, Cell]]:
    """Yield what is measured, in order: in each round each cell of qcore, then of each peer."""
    for _ in range(size.rounds):
        done = set()
        for row in rows:
            for peer in (OURS, *peers):
                turn = (peer, row.ours if peer is OURS else row.theirs)
                if turn not in done:
                    done.add(turn)
                    yield turn


def take(
    rows: Sequence[Row],
    pythons: Mapping[Peer, str],
    size: Size,
    tell: Callable[[str], None],
) -> Taken:
    """Take all measurements."""
    taken: Taken = {}
    peers = [peer for peer in pythons if peer is not OURS]
    order = list(turns(rows, peers, size))
    for number, (peer, cell) in enumerate(order, 1):
        tell(f"{number}/{len(order)} {peer.name}: {cell.measure}")
        figures = taken.setdefault((peer.name, cell), {})
        for name, value in measure(peer, pythons[peer], cell, size).items():
            figures.setdefault(name, []).append(value)
    return taken


class Line(NamedTuple):
    """One line of the table, measured."""

    label: str
    unit: str
    #: medians by name
    medians: dict[str, float]
    #: how many times better than this peer qcore is, by its name
    better: dict[str, float]
    #: the same in the worst and the best round
    spread: dict[str, tuple[float, float]]
    #: every round's figure, by name
    rounds: dict[str, list[float]]


def lines(rows: Sequence[Row], taken: Taken, peers: Sequence[Peer]) -> list[Line]:
    """Return medians, ratios of medians, and how far single rounds are from them."""
    found = []
    for row in rows:
        rounds = {OURS.name: taken[OURS.name, row.ours][row.figure]}
        rounds |= {peer.name: taken[peer.name, row.theirs][row.figure] for peer in peers}
        medians = {name: statistics.median(values) for name, values in rounds.items()}
        ours = rounds[OURS.name]
        better, spread = {}, {}
        for peer in peers:
            theirs = rounds[peer.name]
            pairs = [_better(a, b, row) for a, b in zip(ours, theirs, strict=True)]
            better[peer.name] = _better(medians[OURS.name], medians[peer.name], row)
            spread[peer.name] = (min(pairs), max(pairs))
        found.append(Line(row.label, row.unit, medians, better, spread, rounds))
    return found


def _better(ours: float, theirs: float, row: Row) -> float:
    more, less = (ours, theirs) if row.more_is_better else (theirs, ours)
    return more / max(less, sys.float_info.min)
