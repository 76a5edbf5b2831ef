"""How a queue is resumed from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qcore.cli.pause import print_state
from qcore.cli.text import json_option

if TYPE_CHECKING:
    from qcore.cli.session import Session


@click.command("resume")
@json_option
@click.pass_obj
def command(session: Session, as_json: bool) -> int:
    """Resume the queue: clusters take tasks again, within two seconds."""
    session.app.queue.resume()
    return print_state(session.config.name, paused=False, as_json=as_json)
