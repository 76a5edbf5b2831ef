"""What the monitor prints where there is no screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.cli import figures
from qcore.cli.info import told_of
from qcore.cli.monitor.snapshot import state_of
from qcore.cli.text import columns, cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.cli.monitor.snapshot import Snapshot
    from qcore.model import Schedule


def lines(snapshot: Snapshot, now: float, room: int | None = None) -> Iterator[str]:
    """Yield the lines that tell of a queue, whole, or cut to the `room` of a terminal."""
    if snapshot.sight is not None:
        yield from told_of(snapshot.sight, room)
    for heads, rows in _lists(snapshot, now):
        if rows:
            yield ""
            yield from (cut(text, room) for text in columns(rows, heads))


def _lists(snapshot: Snapshot, now: float) -> Iterator[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    yield (
        ("buried", "id", "when", "reason"),
        [(one.called, one.id, _ago(now - one.buried_at), one.reason) for one in snapshot.buried],
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
    return f"{figures.span(seconds)} ago"


def _next(one: Schedule) -> str:
    state = state_of(one)
    return figures.when(one.next_run) if state == "waiting" else one.fault or state
