"""How waiting tasks are removed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.text import counted, say, say_json

if TYPE_CHECKING:
    from qcore.cli.session import Session


@click.command("purge")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(session: Session, yes: bool, as_json: bool) -> int:
    """Remove every waiting task, delayed ones included; running tasks and dead letters stay.

    Some brokers have no way to delayed tasks: the command says so, and these stay.
    """
    queue = session.app.queue
    with session.runtime.brokers.connection() as broker:
        delayed_too = broker.capabilities.purges_delayed
    if not yes:
        size = queue.size()
        waiting = counted(size.ready + (size.delayed or 0 if delayed_too else 0), "task")
        sure(f"Remove {waiting} from the queue {session.config.name!r} for good?")
    removed = queue.purge()
    if as_json:
        say_json({"purged": removed, "delayed_too": delayed_too})
    else:
        say(f"{counted(removed, 'task')} removed")
        if not delayed_too:
            say("delayed tasks stay: the broker cannot remove them before they are ready")
    return Exit.OK


def sure(question: str) -> None:
    """Ask on the terminal; without one, --yes is needed."""
    if not sys.stdin.isatty():
        msg = "this cannot be undone; give --yes to do it without being asked"
        raise click.UsageError(msg)
    click.confirm(question, abort=True, err=True)
