"""Whether a queue moves, beyond a sign of life."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.formatting import busy
from qcore.cli.overview import look
from qcore.cli.text import say, say_json
from qcore.sanitize import line

if TYPE_CHECKING:
    from qcore.cli.overview import QueueOverview
    from qcore.cli.session import Session

#: Seconds between two looks at a queue that does not move.
_AGAIN: Final = 0.25


@click.command("health")
@click.option(
    "--patience",
    default=10.0,
    show_default=True,
    help="Seconds in which something must move while messages are ready.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(session: Session, patience: float, as_json: bool) -> int:
    """Say whether the queue is worked on: exit code 0 if so, 1 if not.

    Well is a queue with a cluster that reports no trouble and, while messages are ready,
    takes them or runs tasks. A worker that is connected but gets nothing is not. A queue
    that is paused is well: somebody wants it to rest. Where the broker keeps nothing of what
    clusters publish, the messages alone tell: while some are ready, they must become fewer or
    be leased.
    """
    first = look(session.app)
    faults = examine(session, first, patience)
    if as_json:
        say_json({"healthy": not faults, "faults": faults, "clusters_known": first.status})
    else:
        for fault in faults:
            say(f"unwell: {line(fault)}")
        if not faults:
            say("well" if first.status else f"well, as far as the queue tells; clusters are {first.nobody}")
    return Exit.FAILED if faults else Exit.OK


def examine(session: Session, first: QueueOverview, patience: float) -> list[str]:
    """Return what is wrong, nothing if all is well, beginning with what was seen first."""
    if not first.status:
        if _moves(session, first, patience):
            return []
        fault = (
            f"{first.queue.ready} messages are ready, but none was taken within {patience:g} seconds; "
            "look at the workers' log, or start a cluster with: qcore run MODULE:APP"
        )
        return [fault]
    if not first.clusters:
        return [f"no cluster works on queue {first.name!r}; start one with: qcore run MODULE:APP"]
    faults = [
        f"cluster {one.label} on {one.host} (pid {one.pid}): {trouble}"
        for one in first.clusters
        for trouble in one.troubles
    ]
    if not faults and not _moves(session, first, patience):
        workers = sum(len(one.workers) for one in first.clusters)
        faults.append(
            f"{first.queue.ready} messages are ready and {workers} workers idle, but none was taken "
            f"within {patience:g} seconds; look at the workers' log, then restart the cluster"
        )
    return faults


def _moves(session: Session, first: QueueOverview, patience: float) -> bool:
    """Wait until something is taken or runs, or there is nothing to take."""
    end = time.monotonic() + patience
    now = before = first
    while True:
        if not now.queue.ready or now.paused or any(map(busy, now.clusters)) or _done(now) != _done(first):
            return True
        # Compared with the last look, for more may come than goes.
        if now.queue.ready < before.queue.ready or (not now.status and now.queue.leased):
            return True
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(_AGAIN, left))
        before, now = now, look(session.app)


def _done(found: QueueOverview) -> int:
    return sum(one.finished for one in found.clusters)
