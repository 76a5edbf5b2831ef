"""The command line of the benchmark on Redis."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.benchmarks import environments
from tests.benchmarks.onredis import field
from tests.benchmarks.onredis.rounds import Size, lines, take
from tests.benchmarks.onredis.table import as_json, as_text
from tests.benchmarks.onredis.wire import Server, Wire
from tests.benchmarks.peers import WORKERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.onredis.field import Rival, Row

_QUICK: Final = Size(rounds=1, seconds=0.05, samples=5, idle=0.2, killed=3.0, bursts=1, pending=50_000)

_ABOUT: Final = """\
Measure qcore beside other task queues on one private Redis, alternately, and print medians.

Each system is installed in an environment of its own, kept in a cache folder, and set up as its own
documentation says is fastest. Every system has two worker processes and does the same work: a task
notes in shared memory that it ran. A system that cannot be installed, fails, loses a task or runs
one twice is shown as such, and the table goes on.

The ratio is qcore's figure over that of the best peer of the row.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py --redis", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ",".join(rival.name for rival in field.RIVALS)
    keys = ",".join(row.key for row in (*field.ROWS, *field.LONG))
    parser.add_argument("--peers", metavar="A,B", help=f"which peers, or none; there are {names}")
    parser.add_argument("--rows", metavar="X,Y", help=f"which rows; there are {keys}")
    parser.add_argument("--json", action="store_true", help="print one JSON object, every round in it")
    parser.add_argument("--long", action="store_true", help="also the rows of a million pending tasks")
    parser.add_argument("--quick", action="store_true", help="one small round, to see that it works")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds (default {Size().rounds})")
    parser.add_argument("--cache", type=Path, metavar="DIR", default=environments.default_cache())
    return parser


def _rows(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> list[Row]:
    known = {row.key: row for row in (*field.ROWS, *field.LONG)}
    if asked.rows is None:
        return [*field.ROWS, *(field.LONG if asked.long else ())]
    for key in asked.rows.split(","):
        if key not in known:
            parser.error(f"no row is called {key!r}; there are {', '.join(known)}")
    return [known[key] for key in asked.rows.split(",")]


def _rivals(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> list[Rival]:
    known = {rival.name: rival for rival in field.RIVALS}
    if asked.peers is None:
        return [*field.EVERYBODY]
    names = [name for name in asked.peers.split(",") if name not in {"none", field.OURS.name}]
    for name in names:
        if name not in known:
            parser.error(f"no peer is called {name!r}; there are {', '.join(known)}")
    return [field.OURS, *(known[name] for name in names)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status, 1 if qcore itself failed in any row."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    rows, rivals = _rows(parser, asked), _rivals(parser, asked)
    size = _QUICK if asked.quick else Size()
    size = size._replace(rounds=asked.rounds or size.rounds)
    pythons, missing = _installed(rivals, asked.cache, here=asked.quick)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qcore-bench-") as folder, Server(Path(folder)) as server:
        taken = take(rows, pythons, server.port, size, _tell)
        version = Wire(server.port).info("server")["redis_version"]
    _tell("")
    taken.failed.update({(name, "install"): why for name, why in missing.items()})
    measured = lines(rows, taken, [rival.name for rival in pythons])
    circumstances: dict[str, object] = {
        "python": platform.python_version(),
        "redis": version,
        "system": f"{platform.system()} {platform.machine()}",
        "processors": len(os.sched_getaffinity(0)),
        "workers": WORKERS,
        "rounds": size.rounds,
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    setups = {
        f"{rival.name} {environments.version(rival, python)}": rival.setup["always"]
        for rival, python in pythons.items()
    }
    if asked.json:
        print(as_json(measured, taken, circumstances, setups))
    else:
        print(as_text(measured, taken, circumstances, setups, size.killed))
    return int(any(name == field.OURS.name for name, _ in taken.failed))


def _installed(
    rivals: Sequence[Rival], cache: Path, *, here: bool
) -> tuple[dict[Rival, str], dict[str, str]]:
    """Return the Python of each system, and why there is none; `here`, that of qcore is this one."""
    pythons, missing = {}, {}
    for rival in rivals:
        _tell(f"installing {rival.name}")
        try:
            own = here and rival is field.OURS
            pythons[rival] = (
                sys.executable if own else environments.interpreter(rival.module, rival.requirements, cache)
            )
        except (subprocess.CalledProcessError, OSError) as exc:
            missing[rival.name] = f"cannot be installed: {exc}"
    return pythons, missing


def _tell(text: str) -> None:
    """Show how far it is, where somebody looks on."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)
