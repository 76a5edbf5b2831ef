"""How a queue is paused from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.text import json_option, say, say_json
from qcore_text.sanitize import line

if TYPE_CHECKING:
    from qcore.cli.session import Session


@click.command("pause")
@json_option
@click.pass_obj
def command(session: Session, as_json: bool) -> int:
    """Pause the queue: no cluster takes new tasks until it is resumed.

    All clusters know within two seconds. Running tasks come to their end; tasks are enqueued and
    schedules fire as before. To pause a schedule: qcore schedule pause.
    """
    session.app.queue.pause()
    return print_state(session.config.name, paused=True, as_json=as_json)


def print_state(name: str, *, paused: bool, as_json: bool) -> Exit:
    """Print that a queue is paused, or not any more."""
    if as_json:
        say_json({"name": name, "paused": paused})
    else:
        say(f"queue {line(name)} {'paused' if paused else 'resumed'}")
    return Exit.OK
