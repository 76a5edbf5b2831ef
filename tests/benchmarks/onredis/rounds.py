"""Hold the sessions of all systems alternately; a system that fails stops nobody."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.benchmarks.onredis.field import ONCE, OURS, STYLES, Rival, Row, session_of, takes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_ROOT: Final = Path(__file__).resolve().parents[3]
#: Seconds after which a session is killed.
_TIMEOUT: Final = 45.0
#: seconds for one that fills a queue again and again
_LONG_TIMEOUT: Final = 300.0
#: how fast a session is, compared with the drain of tasks that do nothing
_PACES: Final = {
    "stored": 0.6,
    "usual": 0.5,
    "usualstored": 0.3,
    "large": 0.5,
    "heavy1": 0.3,
    "heavy10": 0.2,
    "heavy100": 0.1,
    "asyncs": 0.3,
}
#: most tasks of a session, so that Redis has memory for them
_MOST: Final = {"heavy10": 20_000, "heavy100": 3_000, "large": 2_000}
#: tasks of a cluster whose workers are replaced, and of one whose workers are not
_RECYCLED: Final = 60_000
#: what of a drain is enqueued one by one at most
_SINGLES: Final = 3000


class Size(NamedTuple):
    """How much is done in one session."""

    rounds: int = 3
    #: seconds a drain is to take, about
    seconds: float = 0.9
    samples: int = 150
    #: seconds idle
    idle: float = 1.0
    #: seconds a task whose worker died is waited for
    killed: float = 5.0
    bursts: int = 3
    pending: int = 1_000_000


#: system, figure as "session.figure" -> a value a round; and why a session gave none
class Taken(NamedTuple):
    """What came of all sessions."""

    #: by system and session and figure
    figures: dict[tuple[str, str, str], list[float]]
    #: the reason, by system and session
    failed: dict[tuple[str, str], str]

    def median(self, name: str, row: Row) -> float | None:
        """Return the median of a cell, None if there is none."""
        found = self.rounds(name, row)
        return statistics.median(found) if found else None

    def rounds(self, name: str, row: Row) -> list[float]:
        """Return the figures of a cell."""
        return self.figures.get((name, session_of(name, row), row.figure), [])


def plan(rival: Rival, session: str, size: Size) -> dict[str, Any]:
    """Return the numbers of a session."""
    pace = _PACES.get(session, 1.0) * rival.pace
    count = min(max(100, int(pace * size.seconds)), _MOST.get(session, sys.maxsize))
    # the same tasks for all
    low = size.pending // 10
    same = {
        "coroutines": int(2223 * size.seconds),
        "threads": int(1778 * size.seconds),
        "urgent": size.samples,
        "recycled": _RECYCLED // 2,
    }
    count = same.get(session, count)
    total = {
        "deep": 10 * 20_000 + 1,
        "recycled": _RECYCLED,
        "mix": size.bursts * 100 + 1,
        "work": int(5000 * size.seconds) + 100,
        "urgent": size.samples + low + 20,
    }
    return {
        "count": count,
        "low": low,
        "singles": min(_SINGLES, max(50, count // 2)),
        "size": total.get(session, max(count, size.samples, 100) + 200),
        **size._asdict(),
    }


def hold(rival: Rival, python: str, session: str, port: int, size: Size) -> dict[str, float]:
    """Hold one session, in processes and a folder of its own; `odd` tells why there are no figures."""
    limit = _LONG_TIMEOUT if session in ONCE else _TIMEOUT
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("QCORE_", "PYTHON"))}
    with tempfile.TemporaryDirectory(prefix="qcore-bench-") as folder:
        errors = Path(folder, "errors")
        with errors.open("wb") as log:
            process = subprocess.Popen(
                [python, "-m", "tests.benchmarks.onredis.inside", rival.module, session],
                cwd=folder,
                env={
                    **kept,
                    "PYTHONPATH": f"{_ROOT}:{folder}",
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "PATH": f"{Path(python).parent}:{os.environ.get('PATH', '')}",
                    "BENCH_RESULTS": str(int(session in {"stored", "usualstored", "coroutines", "threads"})),
                    "BENCH_STYLE": STYLES.get(session, "tuned"),
                    "BENCH_PORT": str(port),
                    "BENCH_PLAN": json.dumps(plan(rival, session, size)),
                },
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                told, _ = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return {"odd": f"not done within {limit:g} s"}  # type: ignore[dict-item]  # the reason
        return _figures(told, errors)


def _figures(told: bytes, errors: Path) -> dict[str, float]:
    lines = told.decode(errors="replace").splitlines()
    try:
        figures: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        figures = {"odd": "ended without figures"}
    if "odd" in figures:
        said = errors.read_text(errors="replace").splitlines()
        if said and said[-1] not in figures["odd"]:
            figures["odd"] += f" ({said[-1][:200]})"
    return figures


def turns(rows: Sequence[Row], rivals: Sequence[Rival], rounds: int) -> Iterator[tuple[str, Rival]]:
    """Yield the sessions in order: in each round each session of every system."""
    sessions = list(dict.fromkeys(session_of(rival.name, row) for row in rows for rival in rivals))
    for number in range(rounds):
        for session in sessions:
            if number and session in ONCE:
                continue
            for rival in rivals:
                if takes(rival, session):
                    yield session, rival


def take(
    rows: Sequence[Row], pythons: Mapping[Rival, str], port: int, size: Size, tell: Callable[[str], None]
) -> Taken:
    """Hold all sessions."""
    taken = Taken({}, {})
    order = list(turns(rows, list(pythons), size.rounds))
    for number, (session, rival) in enumerate(order, 1):
        if (rival.name, session) in taken.failed:
            continue
        began = time.monotonic()
        figures: dict[str, Any] = hold(rival, pythons[rival], session, port, size)
        tell(f"{number}/{len(order)} {rival.name}: {session}, {time.monotonic() - began:.1f} s")
        if "odd" in figures:
            taken.failed[rival.name, session] = figures["odd"]
        else:
            for name, value in figures.items():
                taken.figures.setdefault((rival.name, session, name), []).append(value)
    return taken


class Line(NamedTuple):
    """One line of the table, measured."""

    row: Row
    #: by name; None where there is no figure
    medians: dict[str, float | None]
    #: the peer that does best
    best: str | None
    #: qcore's figure over the best peer's
    ratio: float | None
    #: whether the target is reached
    met: bool | None
    #: every round's figure, by name
    rounds: dict[str, list[float]]


def lines(rows: Sequence[Row], taken: Taken, names: Sequence[str]) -> list[Line]:
    """Return medians, the best peer of each row and how qcore compares."""
    found = []
    for row in rows:
        medians = {name: taken.median(name, row) for name in names}
        choose = max if row.more_is_better else min
        others = {name: value for name, value in medians.items() if name != OURS.name and value is not None}
        best = choose(others, key=others.__getitem__) if others else None
        ours = medians.get(OURS.name)
        ratio = _ratio(ours, others[best]) if best is not None else None
        judged = ours if row.absolute else ratio
        met = None
        if row.target is not None and judged is not None:
            met = judged >= row.target if row.more_is_better else judged <= row.target
        rounds = {name: taken.rounds(name, row) for name in names}
        found.append(Line(row, medians, best, ratio, met, rounds))
    return found


def _ratio(ours: float | None, theirs: float) -> float | None:
    # there is none to nothing at all, nor to what never happened
    if ours is None or theirs <= 0 or math.isinf(theirs):
        return None
    return ours / theirs
