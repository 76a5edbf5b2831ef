"""How the state of a task is printed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import click

from qcore.cli.exit_codes import Exit
from qcore.cli.formatting import progress_line, when
from qcore.cli.ids import as_task_id
from qcore.cli.text import json_option, say, say_json, seconds
from qcore_text.sanitize import line

if TYPE_CHECKING:
    from qcore.cli.session import Session
    from qcore.status import TaskStatus


@click.command("status")
@click.argument("task_id", metavar="ID", callback=as_task_id)
@json_option
@click.pass_obj
def command(session: Session, task_id: str, as_json: bool) -> int:
    """Print the state of a task; exit code 1 if it is unknown.

    ID is the id of the task, or the first or last digits of it where these are unique. The state
    is queued, running, begun, retrying, succeeded, failed, cancelled, interrupted or unknown. A task
    is seen to run about a second after it has begun.
    """
    found = session.app.status(task_id)
    if as_json:
        say_json(attrs.asdict(found))
    else:
        say(described(found, time.time()))
    return Exit.FAILED if found.state == "unknown" else Exit.OK


def described(found: TaskStatus, now: float) -> str:
    """Return the state of a task as one line."""
    parts = [found.state]
    if found.since:
        parts.append(f"since {when(found.since)} ({seconds(now - found.since)})")
    if found.worker:
        parts.append(f"by {line(found.worker)}")
    part = progress_line(found.progress) if found.state != "succeeded" else ""
    return ", ".join(filter(None, [" ".join(parts), part]))
