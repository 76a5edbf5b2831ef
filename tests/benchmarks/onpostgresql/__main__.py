"""Measure qcore and procrastinate on one PostgreSQL: python -m tests.benchmarks.onpostgresql [--quick]."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.benchmarks.contest import Peer
from tests.benchmarks.environments import default_cache, interpreter, version

if TYPE_CHECKING:
    from types import ModuleType

_ROOT: Final = Path(__file__).resolve().parents[3]
#: seconds after which a measurement is given up
_TIMEOUT: Final = 600
PEERS: Final = (
    Peer("qcore", "qcore_sql", ("core", "plugins/qcore-sql", "psycopg[binary]>=3.2"), "qcore", {}),
    Peer(
        "procrastinate",
        "procrastinate_sql",
        ("procrastinate>=3", "psycopg[binary]>=3.2"),
        "procrastinate",
        {},
    ),
)
#: measure -> tasks, the figure, its unit
MEASURES: Final = {
    "enqueue": (2_000, "rate", "tasks/s"),
    "coroutines": (2_000, "rate", "tasks/s"),
    "bulk": (20_000, "rate", "tasks/s"),
    "drain": (5_000, "rate", "tasks/s"),
    "latency": (150, "p50", "ms"),
}
_FEW: Final = 40


def servers() -> ModuleType:
    """Return the module of the plugin's tests that starts servers."""
    path = _ROOT / "plugins" / "qcore-sql" / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location("qcore_sql_servers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(*, loose: bool = False) -> Any:
    """Start PostgreSQL 18, with the durability that it has by default unless `loose`."""
    module = servers()
    durability = "synchronous_commit=off" if loose else "fsync=on"

    class Durable(module.PostgreSql):  # type: ignore[misc, name-defined]  # found at run time
        def command(self) -> list[Any]:
            return [*super().command(), "-c", durability, "-c", "shared_buffers=128MB",
                    "-c", "autovacuum_naptime=60"]  # fmt: skip

    return Durable(module.installation(18))


def measure(peer: Peer, python: str, what: str, count: int, url: str) -> float:
    """Take one measurement, in a process and a folder of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("QCORE_", "PYTHON"))}
    settings = {
        "PYTHONPATH": str(_ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "BENCH_URL": url,
        "BENCH_RESULTS": "0",
        "BENCH_STYLE": "tuned",
        "BENCH_COUNT": str(count),
        "BENCH_SECONDS": "1",
    }
    with tempfile.TemporaryDirectory(prefix="qcore-bench-") as folder:
        ran = subprocess.run(
            [python, "-m", "tests.benchmarks.inside", peer.module, what],
            cwd=folder, env={**kept, **settings}, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
            text=True, timeout=_TIMEOUT, check=True,
        )  # fmt: skip
    figures: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    if "odd" in figures:
        raise RuntimeError(f"{peer.name}, {what}: {figures['odd']}")
    return float(figures[MEASURES[what][1]])


def main() -> None:
    """Print a table: medians, and how many times better qcore is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few tasks, one round: does it run?")
    parser.add_argument("--loose", action="store_true", help="a commit waits for no disk")
    parser.add_argument("--only", choices=list(MEASURES), action="append", help="one of the measures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where peers are installed")
    asked = parser.parse_args()
    measures = asked.only or list(MEASURES)
    here = {PEERS[0]: sys.executable} if asked.quick else {}
    pythons = {
        peer.name: here.get(peer) or interpreter(peer.module, peer.requirements, asked.cache)
        for peer in PEERS
    }
    print(", ".join(f"{peer.name} {version(peer, pythons[peer.name])}" for peer in PEERS), "2 workers each")
    taken: dict[tuple[str, str], list[float]] = {}
    with closing(started(loose=asked.loose)) as server:
        for number in range(1 if asked.quick else asked.rounds):
            for what in measures:
                count = _FEW if asked.quick else MEASURES[what][0]
                for peer in PEERS:
                    name = f"{peer.module}_{what}_{number}"
                    server.create(name)
                    found = measure(peer, pythons[peer.name], what, count, server.url(name))
                    taken.setdefault((what, peer.name), []).append(found)
    for what in measures:
        _, figure, unit = MEASURES[what]
        ours, theirs = (taken[what, peer.name] for peer in PEERS)
        pairs = zip(ours, theirs, strict=True)
        ratios = [a / b if figure == "rate" else b / a for a, b in pairs]
        medians = [statistics.median(one) for one in (ours, theirs)]
        better = medians[0] / medians[1] if figure == "rate" else medians[1] / medians[0]
        print(
            f"  {what:8} {medians[0]:10.2f} {medians[1]:10.2f} {unit:8}"
            f" qcore is better by {better:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
