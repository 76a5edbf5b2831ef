"""Take the measurements of one session of one peer, in that peer's environment."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.benchmarks.counter import VARIABLE, Hits
from tests.benchmarks.onredis import atonce, calm, recycled, rush, strain
from tests.benchmarks.onredis.session import ENDS, Odd, Session
from tests.benchmarks.onredis.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: A session starts a peer once and may take several figures.
SESSIONS: Final[Mapping[str, Callable[[Session], dict[str, float]]]] = {
    "rush": rush.plain,
    "stored": rush.stored,
    "usual": rush.drained,
    "usualstored": rush.stored,
    "large": rush.large,
    "heavy1": partial(rush.heavy, size=1_000),
    "heavy10": partial(rush.heavy, size=10_000),
    "heavy100": partial(rush.heavy, size=100_000),
    "recycled": recycled.recycled,
    "models": calm.models,
    "calm": calm.calm,
    "killed": calm.killed,
    "wide": calm.wide,
    "work": strain.work,
    "mix": strain.mix,
    "deep": strain.deep,
    "coroutines": atonce.coroutines,
    "threads": atonce.threads,
    "asyncs": rush.drained,
    "urgent": atonce.urgent,
}


def main(module: str, name: str) -> None:
    """Print the figures as one line of JSON, the last of the output."""
    plan: dict[str, Any] = json.loads(os.environ["BENCH_PLAN"])
    folder = Path.cwd()
    os.environ["BENCH_FOLDER"] = str(folder)
    os.environ[VARIABLE], os.environ[ENDS] = str(folder / "hits"), str(folder / "ends")
    hits, ends = (Hits.create(folder / file, int(plan["size"])) for file in ("hits", "ends"))
    wire = Wire(int(os.environ["BENCH_PORT"]))
    wire.ask("FLUSHALL")
    figures: dict[str, Any]
    peer = None
    try:
        peer = importlib.import_module(f"tests.benchmarks.onredis.peers.{module}")
        figures = SESSIONS[name](Session(peer, hits, ends, wire, plan, folder))
    except Odd as exc:
        figures = {"odd": str(exc)}
    except Exception as exc:
        # whatever a peer raises is its entry in the table
        traceback.print_exc()
        figures = {"odd": f"{type(exc).__name__}: {exc}"}
    finally:
        if peer is not None:
            peer.stop()
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    # a client's threads are not waited for
    sys.stdout.flush()
    os._exit(0)
