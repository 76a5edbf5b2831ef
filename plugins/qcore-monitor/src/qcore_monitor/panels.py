"""What each panel shows of its list."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import attrs
from rich.text import Text

from qcore.cli import formatting
from qcore_monitor.grid import Cell, Column, grid
from qcore_monitor.snapshot import empty, state_of
from qcore_monitor.view import Panel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.status import ClusterStatus, WorkerStatus
    from qcore_monitor.glyphs import Glyphs
    from qcore_monitor.grid import Grid
    from qcore_monitor.snapshot import Snapshot

#: Seconds a status may be old: an idle cluster publishes every five.
_STALE: Final = 11.0
#: The broker forgets one that is older: then it is the clocks that differ.
_EXPIRED: Final = 16.0
#: Seconds by which clocks of two machines may differ before it is shown.
_SKEW: Final = 5.0
#: Cells of a title, so that what stands beside it is not pushed about by a number.
_TITLE: Final = 18
#: Lines kept for running tasks, so that what lies below does not jump each time one ends.
_RUNNING: Final = 4
#: What sets lines of an entry behind the first apart.
_INDENT: Final = "  "


@attrs.frozen
class Entry:
    """One of a list: its line, and what else may be shown of it."""

    row: Text
    #: is shown even where there is little room
    matters: tuple[Text, ...] = ()
    #: is left out first
    more: tuple[Text, ...] = ()


@attrs.frozen
class Drawn:
    """A panel before it is known how much room it gets."""

    head: Text
    entries: tuple[Entry, ...]
    #: lines it keeps although it has nothing to show in them
    reserve: int = 0


def draw(panel: Panel, snapshot: Snapshot, max_width: int, marks: Glyphs, now: float) -> Drawn:
    """Return a panel's lines, `max_width` cells wide."""
    drawers: dict[Panel, Callable[[Snapshot, int, Glyphs, float], Drawn]] = {
        Panel.CLUSTERS: _clusters,
        Panel.RUNNING: _running,
        Panel.DEAD_LETTERS: _dead_letters,
        Panel.FAILURES: _failures,
        Panel.SCHEDULES: _schedules,
    }
    return drawers[panel](snapshot, max_width, marks, now)


def _title(panel: Panel, shown: int, count: int | None = None) -> str:
    count = shown if count is None else max(shown, count)
    text = panel.value.upper()
    return f"{text} {count:,}" if count == shown else f"{text} {shown:,} of {count:,}"


def _bare(panel: Panel, what: str) -> Drawn:
    return Drawn(Text.assemble(panel.value.upper(), (f"  {what}", "dim")), ())


# -- clusters -----------------------------------------------------------------------------------

_STATES: Final = {
    "starting": "yellow",
    "stopping": "yellow",
    "stopped": "red",
    "working": "green",
    "paused": "yellow",
}


def _clusters(snapshot: Snapshot, max_width: int, marks: Glyphs, now: float) -> Drawn:
    del now
    overview = snapshot.overview or empty("")
    if not overview.clusters:
        return _bare(Panel.CLUSTERS, overview.no_clusters if snapshot.overview else "")
    columns = [
        Column(_title(Panel.CLUSTERS, len(overview.clusters)), 11, 100, within=True),
        Column("HOST", 8, 70),
        Column("ID", None, 50),
        Column("STATE", None, 95, steady=7),
        Column("BUSY", None, 90, right=True, steady=5),
        Column("RATE", None, 85, right=True, steady=7),
        Column("RUN P50/P99", None, 40, right=True),
        Column("WAIT P50/P99", None, 35, right=True),
        Column("REPLACED", None, 30),
        Column("UP", None, 60, right=True, steady=4),
    ]
    made = grid(columns, [_cluster(one) for one in overview.clusters], max_width, marks)
    entries = [
        Entry(
            row,
            tuple(
                Text(marks.cut(f"{_INDENT}! {marks.text(message)}", max_width), "bold red")
                for message in _wrong(one, snapshot.taken)
            ),
            _rest(one, made, max_width, marks),
        )
        for one, row in zip(overview.clusters, made.rows, strict=True)
    ]
    return Drawn(made.head, tuple(entries))


def _cluster(one: ClusterStatus) -> list[Cell]:
    state = "paused" if one.paused and one.state in {"idle", "working"} else one.state
    busy, pool = formatting.busy(one), len(one.workers)
    short = sum(worker.state in {"starting", "stopped"} for worker in one.workers)
    return [
        Cell(one.label, "bold"),
        Cell(one.host),
        Cell(formatting.short(one.id), "dim"),
        Cell(state, _STATES.get(state, "")),
        # Yellow while workers are missing.
        Cell(f"{busy}/{pool}", "yellow" if short else ""),
        Cell(formatting.rate(one.rate)),
        Cell(formatting.spread(one.run_time)),
        Cell(formatting.spread(one.wait_time)),
        Cell(formatting.causes(one.reincarnations)),
        Cell(formatting.span(one.uptime)),
    ]


def _wrong(one: ClusterStatus, taken: float) -> list[str]:
    """Return what is wrong with a cluster: by its own word, and what it does not say any more."""
    silent = taken - one.published
    if silent > _EXPIRED:
        return [*one.troubles, f"its clock is {formatting.span(silent)} behind ours; set both by NTP"]
    if silent < -_SKEW:
        return [*one.troubles, f"its clock is {formatting.span(-silent)} ahead of ours; set both by NTP"]
    message = [f"it has not been heard of for {formatting.span(silent)}"] if silent > _STALE else []
    return [*one.troubles, *message]


def _rest(one: ClusterStatus, made: Grid, max_width: int, marks: Glyphs) -> tuple[Text, ...]:
    """Return a line of the figures there was no column for."""
    figured = {
        "RUN P50/P99": ("run", formatting.spread(one.run_time)),
        "WAIT P50/P99": ("wait", formatting.spread(one.wait_time)),
        "REPLACED": ("replaced", formatting.causes(one.reincarnations)),
    }
    message = [
        f"{name} {value}"
        for head, (name, value) in figured.items()
        if head not in made.shown and value != formatting.NONE
    ]
    return (Text(marks.cut(_INDENT + "  ".join(message), max_width), "dim"),) if message else ()


# -- tasks --------------------------------------------------------------------------------------


def _running(snapshot: Snapshot, max_width: int, marks: Glyphs, now: float) -> Drawn:
    del now
    overview = snapshot.overview or empty("")
    found = list(overview.running())
    reserve = min(_RUNNING, sum(len(one.workers) for one in overview.clusters))
    busy = sum(map(formatting.busy, overview.clusters))
    quick = busy - len(found)
    if not found:
        message = f"{quick} that began just now" if quick > 0 else "nothing" if snapshot.overview else ""
        return attrs.evolve(_bare(Panel.RUNNING, message), reserve=reserve)
    columns = [
        Column(_title(Panel.RUNNING, len(found), busy).ljust(_TITLE), 20, 100, within=True),
        Column("FOR", None, 90, right=True, steady=5),
        Column("PROGRESS", None, 80, steady=18),
        Column("NOTE", 24, 30, steady=24),
        Column("WORKER", 10, 70, within=True),
        Column("TASK ID", None, 50),
    ]
    made = grid(columns, [_runs(one, worker, marks) for one, worker in found], max_width, marks)
    entries = []
    for (_, worker), row in zip(found, made.rows, strict=True):
        note = worker.progress.note if worker.progress else ""
        left = note and "NOTE" not in made.shown
        more = (Text(marks.cut(f"{_INDENT}{marks.text(note)}", max_width), "dim"),) if left else ()
        entries.append(Entry(row, (), more))
    return Drawn(made.head, tuple(entries), reserve)


def _runs(one: ClusterStatus, worker: WorkerStatus, marks: Glyphs) -> list[Cell]:
    bar = formatting.progress(worker.progress, marks=marks.bar)
    return [
        Cell(worker.task),
        Cell(formatting.span(worker.running_for)),
        Cell(bar, "green", own=True),
        Cell(worker.progress.note if worker.progress else "", "dim"),
        Cell(f"{one.label}:{worker.slot}"),
        Cell(formatting.short(worker.task_id), "dim"),
    ]


def _dead_letters(snapshot: Snapshot, max_width: int, marks: Glyphs, now: float) -> Drawn:
    count = snapshot.overview.queue.dead_letters if snapshot.overview else 0
    if not snapshot.dead_letters:
        return _bare(Panel.DEAD_LETTERS, "none" if snapshot.overview else "")
    columns = [
        Column(
            _title(Panel.DEAD_LETTERS, len(snapshot.dead_letters), count).ljust(_TITLE), 20, 100, within=True
        ),
        Column("REASON", 20, 90),
        Column("AGO", None, 80, right=True, steady=5),
    ]
    rows = [
        [Cell(one.called), Cell(one.reason, "red"), Cell(formatting.span(now - one.dead_since))]
        for one in snapshot.dead_letters
    ]
    return _plain(columns, rows, max_width, marks)


def _failures(snapshot: Snapshot, max_width: int, marks: Glyphs, now: float) -> Drawn:
    if not snapshot.failures:
        return _bare(Panel.FAILURES, "none" if snapshot.overview else "")
    columns = [
        Column(
            _title(Panel.FAILURES, len(snapshot.failures), _failed(snapshot)).ljust(_TITLE),
            20,
            100,
            within=True,
        ),
        Column("ERROR", 20, 90),
        Column("RUNS", None, 40, right=True),
        Column("AGO", None, 80, right=True, steady=5),
    ]
    rows = [
        [
            Cell(one.name),
            Cell(one.error, "red"),
            Cell(f"{one.attempts + one.crashes}"),
            Cell(formatting.span(now - one.finished)),
        ]
        for one in snapshot.failures
    ]
    return _plain(columns, rows, max_width, marks)


def _failed(snapshot: Snapshot) -> int:
    found = snapshot.overview.record()["results"]["failed"] if snapshot.overview else 0
    return int(found)


def _schedules(snapshot: Snapshot, max_width: int, marks: Glyphs, now: float) -> Drawn:
    if not snapshot.schedules:
        return _bare(Panel.SCHEDULES, "none" if snapshot.overview else "")
    columns = [
        Column(_title(Panel.SCHEDULES, len(snapshot.schedules)).ljust(_TITLE), 20, 100, within=True),
        Column("NEXT", None, 95, steady=8),
        Column("RULE", 8, 70),
        Column("TASK", 12, 60, within=True),
    ]
    rows = []
    for one in snapshot.schedules:
        state = state_of(one)
        waits = f"in {formatting.span(one.next_run - now)}" if one.next_run > now else "now"
        style = {"broken": "bold red", "paused": "yellow", "done": "dim"}.get(state, "")
        rows.append([
            Cell(one.name),
            Cell(waits if state == "waiting" else state, style),
            Cell(one.rule),
            Cell(one.fault or one.task, "red" if one.fault else "dim"),
        ])  # fmt: skip
    return _plain(columns, rows, max_width, marks)


def _plain(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], max_width: int, marks: Glyphs) -> Drawn:
    made = grid(columns, rows, max_width, marks)
    return Drawn(made.head, tuple(Entry(row) for row in made.rows))


def clock(now: float) -> str:
    """Return the time of day."""
    return time.strftime("%H:%M:%S", time.localtime(now))
