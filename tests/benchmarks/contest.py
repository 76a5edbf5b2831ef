"""Who is measured, and the rows of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple


@dataclass(frozen=True, eq=False)
class Peer:
    """One system that is measured."""

    name: str
    #: its file in `peers/`
    module: str
    #: what is installed for it, in an environment of its own; a folder of this tree is a package
    requirements: tuple[str, ...]
    #: distribution whose version is shown
    distribution: str
    #: how it is set up, by style; shown with every table
    setup: dict[str, str]


OURS: Final = Peer(
    "qcore",
    "qcore_sqlite",
    ("core",),
    "qcore",
    {
        "always": "embedded SQLite; every task is signed, verified, leased, journalled and acknowledged, "
        "every result sealed",
        "tuned": "synchronous=normal (no fsync at a commit), recycle=0, save_limit=0 (every result is kept)",
        "defaults": "synchronous=normal (no fsync at a commit), recycle=500, save_limit=250",
        "durable": "synchronous=full (fsync at each commit), recycle=0, save_limit=0",
    },
)

PEERS: Final = (
    Peer(
        "huey",
        "huey_sqlite",
        ("huey>=2.5",),
        "huey",
        {
            "always": "SqliteHuey in WAL mode; huey_consumer -k process -w 2 -n -q; results=False where none "
            "are stored; no call for bulk enqueue: a loop",
            "tuned": "fsync=False (no fsync at a commit), -d 0.01 -m 0.01 (polls every 10 ms)",
            "defaults": "fsync not given (from 3.0 on: fsync at each commit), -d 0.1 -m 10 -b 1.15",
        },
    ),
)


class Cell(NamedTuple):
    """One measurement of one peer."""

    measure: str
    results: bool = False
    style: str = "tuned"


class Row(NamedTuple):
    """One line of the table."""

    label: str
    #: measured of qcore, and of each peer
    ours: Cell
    theirs: Cell
    #: which of the figures of the measurement
    figure: str
    unit: str
    more_is_better: bool = False


def _rates(label: str, measure: str, *, results: bool = False) -> list[Row]:
    """Return the rows of a rate: as fast as can be, as installed, and safe from a power failure."""
    tuned, defaults, durable = (Cell(measure, results, style) for style in ("tuned", "defaults", "durable"))
    return [
        Row(f"{label}, tuned", tuned, tuned, "rate", "tasks/s", more_is_better=True),
        Row(f"{label}, defaults", defaults, defaults, "rate", "tasks/s", more_is_better=True),
        # A peer's defaults wait for the disk.
        Row(f"{label}, durable", durable, defaults, "rate", "tasks/s", more_is_better=True),
    ]


def _costs(label: str, measure: str, figure: str, unit: str, *styles: str) -> list[Row]:
    cells = [Cell(measure, style=style) for style in styles]
    return [Row(f"{label}, {cell.style}", cell, cell, figure, unit) for cell in cells]


ROWS: Final = (
    *_rates("enqueue one by one", "enqueue"),
    *_rates("enqueue in bulk", "bulk"),
    *_rates("drain, no results", "drain"),
    *_rates("drain, results stored", "drain", results=True),
    *_costs("latency p50", "latency", "p50", "ms", "tuned", "defaults"),
    *_costs("latency p99", "latency", "p99", "ms", "tuned", "defaults"),
    *_costs("idle memory", "idle", "memory", "MB", "tuned"),
    *_costs("idle processor time", "idle", "cpu", "ms/s", "tuned", "defaults"),
)
