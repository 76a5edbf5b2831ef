"""How waiting tasks are removed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs
import click

from qcore.cli.exit_codes import Exit
from qcore.cli.text import json_option, say, say_json
from qcore_text.sanitize import line
from qcore_text.wording import counted

if TYPE_CHECKING:
    from qcore.cli.session import Session


@click.command("purge")
@click.option(
    "--everything",
    is_flag=True,
    help="Start over: messages of every state, results, schedules, locks, limits and flags.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def command(session: Session, everything: bool, yes: bool, as_json: bool) -> int:
    """Remove every waiting task, delayed ones included; running tasks and dead letters stay.

    Some brokers have no way to delayed tasks: the command says so, and these stay.
    With --everything nothing stays, and a key that was lost is made anew; stop the clusters before.
    """
    if everything:
        return _clear(session, yes=yes, as_json=as_json)
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


def _clear(session: Session, *, yes: bool, as_json: bool) -> int:
    config = session.config
    with session.runtime.brokers.connection() as broker:
        place, size = broker.info(), broker.size()
    if not yes:
        found = counted(size.ready + (size.delayed or 0) + (size.leased or 0), "task")
        letters = counted(size.dead_letters or 0, "dead letter")
        sure(
            f"Remove everything from the queue {config.name!r} for good ({place}): {found}, {letters}, all "
            "results, schedules, locks and limits?"
        )
    done = session.app.queue.clear()
    made = config.make_lost_key()
    if as_json:
        say_json({**attrs.asdict(done), "new_key": None if made is None else str(made)})
        return Exit.OK
    removed = (
        counted(done.messages, "message"),
        counted(done.results, "result"),
        counted(done.schedules, "schedule"),
    )
    say(f"{', '.join(removed)} removed")
    if done.left:
        say(f"{counted(done.left, 'leased message')} left, to be delivered again: run this again in a minute")
    if not done.coordination:
        say("locks, limits and flags stay until they expire: this store cannot remove them")
    if made is not None:
        say(f"a new key is in {line(str(made))}; restart every program that uses the queue")
    return Exit.OK


def sure(question: str) -> None:
    """Ask on the terminal; without one, --yes is needed."""
    if not sys.stdin.isatty():
        msg = "this cannot be undone; give --yes to do it without being asked"
        raise click.UsageError(msg)
    click.confirm(question, abort=True, err=True)
