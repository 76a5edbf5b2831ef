"""How a task is cancelled from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qcore.absence import explain
from qcore.cli.exit_codes import Exit
from qcore.cli.ids import as_task_id
from qcore.cli.text import json_option, say, say_json
from qcore_text.wording import typed

if TYPE_CHECKING:
    from qcore.cli.session import Session


@click.command("cancel")
@click.argument("task_id", metavar="ID", callback=as_task_id)
@json_option
@click.pass_obj
def command(session: Session, task_id: str, as_json: bool) -> int:
    """Cancel a task, whether it waits or runs; exit code 1 if it has ended or is unknown.

    ID is the id of the task, or the first or last digits of it where these are unique. A running
    task is interrupted within two seconds; if it has not ended a second later, its worker is
    killed. qcore status prints what became of it.
    """
    done = session.app.cancel(task_id)
    if as_json:
        say_json({"id": task_id, "cancelled": done})
    elif done:
        say(f"task {task_id} cancelled")
    elif session.app.status(task_id).state == "unknown":
        say(f"qcore: task {task_id} {explain(session.runtime, task_id).text}", error=True)
    else:
        say(f"qcore: task {task_id} has ended already; {typed('result')} prints how", error=True)
    return Exit.OK if done else Exit.FAILED
