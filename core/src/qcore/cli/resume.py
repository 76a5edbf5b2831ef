"""How a queue is woken from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qcore.cli.pause import tell

if TYPE_CHECKING:
    from qcore.cli.session import Session


@click.command("resume")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(session: Session, as_json: bool) -> int:
    """Have clusters take tasks from the queue again; it takes two seconds to get about."""
    session.app.queue.resume()
    return tell(session, paused=False, as_json=as_json)
