"""Decides what the page of one item shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from qcore.cli import formatting
from qcore.cli.text import counted, cut, typed, width
from qcore.model import Result
from qcore_monitor.snapshot import state_of
from qcore_monitor.view import Mode, Panel
from qcore_text.sanitize import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore.cli.dead_letter import DeadLetterView
    from qcore.status import ClusterStatus, WorkerStatus
    from qcore_calendar.schedule import Schedule
    from qcore_monitor.glyphs import Glyphs
    from qcore_monitor.snapshot import Snapshot
    from qcore_monitor.view import View

#: Cells of the names on the left.
_NAMES: Final = 14

_HELP: Final = (
    ("up, down", "choose in a list, or scroll; also k, j, page keys, home, end"),
    ("tab", "go to the next list; also left and right"),
    ("enter", "look into what is chosen: a failure with its traceback, a cluster"),
    ("esc", "back to the lists"),
    ("p", "pause the queue (asks), or resume it"),
    ("r", "requeue the dead letter chosen (asks)"),
    ("c", "cancel the running task chosen (asks)"),
    ("?", "this page"),
    ("q", "quit"),
)
_WORDS: Final = (
    "Figures are those each cluster publishes of itself, wherever it runs.",
    "busy: workers that run a task, of all. rate: tasks finished, by the last minute.",
    "run, wait: what half, and what 99 of 100 tasks of the last minute took at most.",
    "replaced: workers since the start by cause: recycled as planned, memory over max_rss, timeout, crashed.",
    "ready, leased, delayed, dead: messages of the queue.",
)


def lines_of(view: View, snapshot: Snapshot, max_width: int, marks: Glyphs, now: float) -> list[Text]:
    """Return the lines of the page that is looked at, `max_width` cells wide."""
    if view.mode is Mode.HELP:
        pairs = _pairs(_HELP, max_width, marks)
        words = [line for said in _WORDS for line in folded(said, max_width)]
        return [Text("keys", "bold"), *pairs, Text(), Text("figures", "bold"), *map(Text, words)]
    rows = list(_item(view, snapshot, max_width, marks, now))
    return rows or [Text(f"it is gone from {view.panel.value}; esc goes back", "yellow")]


def _item(view: View, snapshot: Snapshot, max_width: int, marks: Glyphs, now: float) -> Iterator[Text]:
    if isinstance(view.item, Result):
        yield from _result(view.item, max_width, marks)
    elif view.item is not None:
        yield from _letter(view.item, view.opened, max_width, marks)
    else:
        yield from _living(view, snapshot, max_width, marks, now)


def _living(view: View, snapshot: Snapshot, max_width: int, marks: Glyphs, now: float) -> Iterator[Text]:
    """Yield the lines of something that changes while it is looked at."""
    id_ = view.chosen.get(view.panel, ("", 0))[0]
    match view.panel:
        case Panel.RUNNING:
            for one, worker in snapshot.overview.running() if snapshot.overview else ():
                if id_ in {worker.task_id, f"{one.id}:{worker.slot}"}:
                    yield from _running(one, worker, max_width, marks)
        case Panel.CLUSTERS:
            for one in snapshot.overview.clusters if snapshot.overview else ():
                if one.id == id_:
                    yield from _cluster(one, max_width, marks, now)
        case Panel.SCHEDULES:
            for schedule in snapshot.schedules:
                if schedule.name == id_:
                    yield from _schedule(schedule, max_width, marks)
        case Panel.DEAD_LETTERS | Panel.FAILURES:
            # Taken out of the list when it was looked into: `View.item`.
            return


def _result(one: Result, max_width: int, marks: Glyphs) -> Iterator[Text]:
    yield Text(marks.cut(marks.text(one.name), max_width), "bold")
    runs = f"{one.attempts}" + (f", and {one.crashes} that killed their worker" if one.crashes else "")
    yield from _pairs(
        [
            ("error", one.error),
            ("how", one.kind),
            ("id", one.id),
            ("group", one.group or ""),
            ("label", one.label or ""),
            ("runs", runs),
            ("enqueued", formatting.when(one.enqueued)),
            (
                "finished",
                f"{formatting.when(one.finished)}, after {formatting.span(one.run_time)}"
                if one.started
                else formatting.when(one.finished),
            ),
            ("worker", one.worker),
        ],
        max_width,
        marks,
    )
    yield from _traceback(one.traceback, max_width, marks)


def _traceback(text: str, max_width: int, marks: Glyphs) -> Iterator[Text]:
    if text:
        yield Text()
        for line in clean(text).expandtabs(4).rstrip().splitlines():
            safe = line.encode(marks.encoding, "replace").decode(marks.encoding)
            for part in folded(safe, max_width):
                yield Text(part)


def _letter(one: DeadLetterView, opened: Result | None, max_width: int, marks: Glyphs) -> Iterator[Text]:
    yield Text(marks.cut(marks.text(one.called), max_width), "bold")
    yield from _pairs(
        [
            ("reason", one.reason),
            ("dead since", formatting.when(one.dead_since)),
            ("letter", one.id),
            ("task id", one.task_id),
            ("group", one.group or ""),
            ("label", one.label or ""),
            ("enqueued", formatting.when(one.enqueued or 0.0)),
            ("failures", f"{one.failures}"),
            ("crashes", f"{one.crashes}" if one.crashes else ""),
            ("message", f"{one.size:,} bytes; its arguments are not read (dead-letters show --args)"),
        ],
        max_width,
        marks,
    )
    if opened is not None and opened.id == one.task_id:
        yield from _traceback(opened.traceback, max_width, marks)


def _running(one: ClusterStatus, worker: WorkerStatus, max_width: int, marks: Glyphs) -> Iterator[Text]:
    yield Text(marks.cut(marks.text(worker.task), max_width), "bold")
    progress = worker.progress
    yield from _pairs(
        [
            ("runs for", formatting.span(worker.running_for)),
            ("progress", formatting.progress(progress, 30, marks.bar)),
            (
                "done",
                f"{progress.done:,.10g} of {progress.total:,.10g}" if progress and progress.total else "",
            ),
            ("note", progress.note if progress else ""),
            ("task id", worker.task_id),
            ("cluster", f"{one.label} on {one.host}, pid {one.pid}"),
            ("worker", f"{worker.slot}, pid {worker.pid}; {counted(worker.done, 'task')} done"),
            ("memory", _memory(worker.rss, worker.pss, worker.peak)),
        ],
        max_width,
        marks,
    )


def _cluster(one: ClusterStatus, max_width: int, marks: Glyphs, now: float) -> Iterator[Text]:
    yield Text(marks.cut(f"{marks.text(one.label)} on {marks.text(one.host)}", max_width), "bold")
    for rows in one.troubles:
        for part in folded(f"! {marks.text(rows)}", max_width):
            yield Text(part, "bold red")
    yield from _pairs(
        [
            ("id", one.id),
            ("pid", f"{one.pid}"),
            ("state", f"{one.state}{', paused' if one.paused else ''}"),
            ("seen", f"{formatting.span(now - one.published)} ago"),
            ("up", formatting.span(one.uptime)),
            ("workers", f"{formatting.busy(one)} of {len(one.workers)} run a task"),
            ("finished", f"{counted(one.finished, 'task')}; {formatting.rate(one.rate)} by the last minute"),
            ("run p50/p99", formatting.spread(one.run_time)),
            ("wait p50/p99", formatting.spread(one.wait_time)),
            ("replaced", formatting.causes(one.reincarnations)),
            (
                "machine",
                _machine(one),
            ),
            ("supervisor", _memory(one.rss, one.pss, 0)),
            ("limit", f"{formatting.size(one.max_rss)} for each worker" if one.max_rss else "none"),
        ],
        max_width,
        marks,
    )
    yield Text()
    for worker in one.workers:
        task = f"{marks.text(worker.task)} {formatting.span(worker.running_for)}" if worker.task else ""
        rows = (
            f"{worker.slot:>3}  pid {worker.pid:<8} {worker.state:<9}"
            f"{worker.done:>9,} done  {formatting.size(worker.rss):>9}  {task}"
        )
        yield Text(marks.cut(rows.rstrip(), max_width))


def _schedule(one: Schedule, max_width: int, marks: Glyphs) -> Iterator[Text]:
    yield Text(marks.cut(marks.text(one.name), max_width), "bold")
    left = "no limit" if one.repeats < 0 else f"{one.repeats or one.kept} left"
    yield from _pairs(
        [
            ("state", state_of(one)),
            ("fault", one.fault),
            ("task", one.task),
            ("rule", one.rule),
            ("time zone", one.time_zone),
            ("next", formatting.when(one.next_run)),
            ("repeats", left),
            ("declared", one.declared),
            ("cluster", one.cluster),
        ],
        max_width,
        marks,
    )
    if one.fault:
        yield Text()
        said = f"it is skipped; mend it, then: {typed('schedule resume')} NAME"
        yield Text(marks.cut(said, max_width), "dim")


# -- lines --------------------------------------------------------------------------------------


def _machine(one: ClusterStatus) -> str:
    if not one.memory_total:
        return ""
    return f"{formatting.size(one.memory_available)} of {formatting.size(one.memory_total)} available"


def _memory(rss: int, pss: int, peak: int) -> str:
    parts = [f"{formatting.size(rss)} RSS"] if rss else []
    parts += [f"{formatting.size(pss)} PSS"] if pss else []
    parts += [f"{formatting.size(peak)} at its peak"] if peak else []
    return ", ".join(parts) or "not known"


def _pairs(pairs: Sequence[tuple[str, str]], max_width: int, marks: Glyphs) -> Iterator[Text]:
    for name, value in pairs:
        if value:
            first, *more = folded(marks.text(value), max_width - _NAMES) or [""]
            yield _line(name, first, max_width, marks)
            for part in more:
                yield _line("", part, max_width, marks)


def _line(name: str, value: str, max_width: int, marks: Glyphs) -> Text:
    if len(name) >= _NAMES:
        return Text.assemble((f"{name}  ", "dim"), marks.cut(value, max(0, max_width - len(name) - 2)))
    return Text.assemble((name.ljust(_NAMES), "dim"), marks.cut(value, max(0, max_width - _NAMES)))


def folded(text: str, max_width: int) -> list[str]:
    """Return a line in parts that fit, broken at a blank where there is one near."""
    max_width = max(1, max_width)
    parts = []
    while width(text) > max_width:
        part = cut(text, max_width, "")
        blank = part.rfind(" ", len(part) // 2)
        if blank > 0:
            part = part[: blank + 1]
        # A character wider than the room has to go somewhere.
        part = part or text[0]
        parts.append(part.rstrip())
        text = text[len(part) :]
    return [*parts, text]
