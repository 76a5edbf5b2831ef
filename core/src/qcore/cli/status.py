"""What is told of how far a task has come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import click

from qcore.cli.exit_codes import Exit
from qcore.cli.formatting import progress_line, when
from qcore.cli.result import as_task_id
from qcore.cli.text import say, say_json, seconds
from qcore.sanitize import line

if TYPE_CHECKING:
    from qcore.cli.session import Session
    from qcore.status import TaskStatus


@click.command("status")
@click.argument("task_id", metavar="ID", callback=as_task_id)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(session: Session, task_id: str, as_json: bool) -> int:
    """Say how far a task has come; exit code 1 if there is no trace of it.

    It is queued, running, retrying, succeeded, failed, cancelled or unknown. That it runs is
    known once it has been running for about a second.
    """
    found = session.app.status(task_id)
    if as_json:
        say_json(attrs.asdict(found))
    else:
        say(told(found, time.time()))
    return Exit.FAILED if found.state == "unknown" else Exit.OK


def told(found: TaskStatus, now: float) -> str:
    """Return a line that says how far a task has come."""
    parts = [found.state]
    if found.since:
        parts.append(f"since {when(found.since)} ({seconds(now - found.since)})")
    if found.worker:
        parts.append(f"by {line(found.worker)}")
    return ", ".join(filter(None, [" ".join(parts), progress_line(found.progress)]))
