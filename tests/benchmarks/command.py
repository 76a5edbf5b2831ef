"""The benchmark's command line and its output."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.benchmarks import contest, environments
from tests.benchmarks.peers import WORKERS
from tests.benchmarks.rounds import Failed, Line, Size, lines, take

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FULL: Final = Size(rounds=5, tasks=20_000, singles=2_000, samples=100, seconds=3.0)
_QUICK: Final = Size(rounds=1, tasks=300, singles=50, samples=5, seconds=0.3)

_ABOUT: Final = """\
Measure qcore beside other task queues, alternately (A B A B ...), and print medians and ratios.

Each system is installed in an environment of its own, kept in a cache folder. Every peer has two
worker processes and does the same work: a task notes in shared memory that it ran, and returns an
integer. Tasks are counted there, outside of any queue; a run in which one is lost or runs twice
ends with status 1.

  enqueue   tasks a second a producer hands over, nobody working meanwhile
  drain     tasks a second from the first hit to the last; all are queued before workers start
  latency   from before the call that enqueues to inside of the task; one task every 50 ms
  idle      the tree of processes below and with the consumer, after a few tasks: PSS, CPU time

  tuned     the fastest setting the documentation of each names
  defaults  as installed
  durable   what is accepted also survives a power failure

docs/explanation/performance.md says what came out.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one small round, to see that it works")
    parser.add_argument("--alone", action="store_true", help="measure qcore only, as it is installed here")
    parser.add_argument("--json", action="store_true", help="print one JSON object, every round in it")
    parser.add_argument("--only", metavar="TEXT", help="only rows whose label has TEXT in it")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds (default {_FULL.rounds})")
    parser.add_argument("--tasks", type=int, metavar="N", help=f"tasks to drain (default {_FULL.tasks})")
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        default=environments.default_cache(),
        help="where the environments of the peers are kept (default %(default)s)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    size = _QUICK if asked.quick else _FULL
    size = size._replace(rounds=asked.rounds or size.rounds, tasks=asked.tasks or size.tasks)
    rows = [row for row in contest.ROWS if (asked.only or "") in row.label]
    if not rows:
        labels = "".join(f"\n  {row.label}" for row in contest.ROWS)
        parser.error(f"no row has {asked.only!r} in its label; there are{labels}")
    peers = () if asked.alone else contest.PEERS
    try:
        here = {contest.OURS: sys.executable} if asked.quick or asked.alone else {}
        pythons = {
            one: here.get(one) or environments.interpreter(one.module, one.requirements, asked.cache)
            for one in (contest.OURS, *peers)
        }
        taken = take(rows, pythons, size, _tell)
    except (Failed, subprocess.SubprocessError) as exc:
        print(f"{sys.argv[0]}: {exc}", file=sys.stderr)
        return 1
    finally:
        _tell("")
    measured = lines(rows, taken, peers)
    print(_as_json(measured, pythons, size) if asked.json else _as_text(measured, pythons, size))
    return 0


def _tell(text: str) -> None:
    """Show how far it is, where somebody looks on."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _circumstances(size: Size) -> dict[str, str | int | float]:
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "processors": len(os.sched_getaffinity(0)),
        "workers": WORKERS,
        **size._asdict(),
    }


def _as_json(measured: Sequence[Line], pythons: Mapping[contest.Peer, str], size: Size) -> str:
    peers = [
        {"name": peer.name, "version": environments.version(peer, python), "setup": peer.setup}
        for peer, python in pythons.items()
    ]
    rows = [line._asdict() for line in measured]
    return json.dumps({"circumstances": _circumstances(size), "peers": peers, "rows": rows}, indent=2)


def _as_text(measured: Sequence[Line], pythons: Mapping[contest.Peer, str], size: Size) -> str:
    names = [peer.name for peer in pythons]
    head = ["median of each", "", *names]
    for name in names[1:]:
        head += [f"better than {name}", "(single rounds)"]
    table = [head]
    for line in measured:
        cells = [line.label, line.unit, *(_figure(line.medians[name]) for name in names)]
        for name in names[1:]:
            low, high = line.spread[name]
            cells += [f"{_figure(line.better[name])} x", f"({_figure(low)} to {_figure(high)})"]
        table.append(cells)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    text = ["  ".join(_aligned(cells, widths)).rstrip() for cells in table]
    text.insert(1, "  ".join("-" * width for width in widths))
    told = ", ".join(f"{name} {value}" for name, value in _circumstances(size).items())
    setups = []
    for peer, python in pythons.items():
        setups.append(f"{peer.name} {environments.version(peer, python)}")
        setups += [f"  {style}: {words}" for style, words in peer.setup.items()]
    return "\n".join([*text, "", told, *setups])


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    left = 2
    return [
        cell.ljust(width) if number < left else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]


def _figure(value: float) -> str:
    """Write a figure with three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
