"""What the monitor prints where there is no screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.cli import formatting
from qcore.cli.info import lines_of
from qcore.cli.text import columns, cut
from qcore_monitor.snapshot import state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore_calendar.schedule import Schedule
    from qcore_monitor.snapshot import Snapshot


def lines(snapshot: Snapshot, now: float, max_width: int | None = None) -> Iterator[str]:
    """Yield the lines that show a queue, whole, or cut to the `max_width` of a terminal."""
    if snapshot.overview is not None:
        yield from lines_of(snapshot.overview, max_width)
    for heads, rows in _lists(snapshot, now):
        if rows:
            yield ""
            yield from (cut(text, max_width) for text in columns(rows, heads))


def _lists(snapshot: Snapshot, now: float) -> Iterator[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    yield (
        ("dead letter", "id", "when", "reason"),
        [(one.called, one.id, _ago(now - one.dead_since), one.reason) for one in snapshot.dead_letters],
    )
    yield (
        ("failed", "task id", "when", "error"),
        [(one.name, one.id, _ago(now - one.finished), one.error) for one in snapshot.failures],
    )
    yield (
        ("schedule", "task", "rule", "next"),
        [(one.name, one.task, one.rule, _next(one)) for one in snapshot.schedules],
    )


def _ago(seconds: float) -> str:
    return f"{formatting.span(seconds)} ago"


def _next(one: Schedule) -> str:
    state = state_of(one)
    return formatting.when(one.next_run) if state == "waiting" else one.fault or state
