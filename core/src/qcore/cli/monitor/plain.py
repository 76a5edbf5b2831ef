"""What the monitor prints where there is no screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.cli import figures
from qcore.cli.info import told_of
from qcore.cli.monitor.snapshot import state_of
from qcore.cli.text import columns, line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.cli.monitor.snapshot import Snapshot


def lines(snapshot: Snapshot, now: float) -> Iterator[str]:
    """Yield the lines that tell of a queue, whole."""
    if snapshot.sight is not None:
        yield from told_of(snapshot.sight)
    if snapshot.buried:
        rows = [
            (one.called, one.id, f"{figures.span(now - one.buried_at)} ago", one.reason)
            for one in snapshot.buried
        ]
        yield ""
        yield from columns(rows, ("buried", "id", "when", "reason"))
    if snapshot.failures:
        rows = [
            (one.name, one.id, f"{figures.span(now - one.finished)} ago", one.error)
            for one in snapshot.failures
        ]
        yield ""
        yield from columns(rows, ("failed", "task id", "when", "error"))
    if snapshot.schedules:
        rows = []
        for one in snapshot.schedules:
            state = state_of(one)
            rows.append(
                (
                    one.name,
                    one.task,
                    one.rule,
                    figures.when(one.next_run) if state == "waiting" else one.fault or state,
                )
            )
        yield ""
        yield from columns(rows, ("schedule", "task", "rule", "next"))
    for trouble in snapshot.troubles:
        yield line(trouble)
