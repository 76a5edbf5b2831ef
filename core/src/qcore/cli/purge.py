"""How waiting tasks are thrown away."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.text import say, say_json

if TYPE_CHECKING:
    from qcore.cli.session import Session


@click.command("purge")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(session: Session, yes: bool, as_json: bool) -> int:
    """Remove every task that waits, those delayed included; running ones and dead letters stay."""
    with session.runtime.brokers.connection() as broker:
        if not yes:
            size = broker.size()
            waiting = size.ready + (size.delayed or 0)
            sure(f"Remove {waiting:,} tasks from the queue {session.config.name!r} for good?")
        removed = broker.purge()
    if as_json:
        say_json({"purged": removed})
    else:
        say(f"{removed:,} {'task' if removed == 1 else 'tasks'} removed")
    return Exit.OK


def sure(question: str) -> None:
    """Ask whoever sits at the terminal; without one, --yes is needed."""
    if not sys.stdin.isatty():
        msg = "this cannot be undone; say --yes to do it without being asked"
        raise click.UsageError(msg)
    click.confirm(question, abort=True, err=True)
