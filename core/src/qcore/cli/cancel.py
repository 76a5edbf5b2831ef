"""How a task is called off from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.result import as_task_id
from qcore.cli.text import say, say_json

if TYPE_CHECKING:
    from qcore.cli.session import Session


@click.command("cancel")
@click.argument("task_id", metavar="ID", callback=as_task_id)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(session: Session, task_id: str, as_json: bool) -> int:
    """Call a task off, whether it waits or runs; exit code 1 if it has ended already.

    One that runs is told within two seconds, and its worker is killed if it does not end within
    another. qcore status tells what became of it.
    """
    done = session.app.cancel(task_id)
    if as_json:
        say_json({"id": task_id, "cancelled": done})
    elif done:
        say(f"task {task_id} is called off")
    else:
        say(f"qcore: task {task_id} has ended already; qcore result tells how", error=True)
    return Exit.OK if done else Exit.FAILED
