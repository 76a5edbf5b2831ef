"""Where the monitor is shown: full screen, plain lines or JSON."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.text import max_width, say, say_json
from qcore.errors import BackendUnavailable, QueueMissing
from qcore_monitor.glyphs import glyphs_for
from qcore_monitor.plain import lines
from qcore_monitor.snapshot import Watcher
from qcore_text.sanitize import line

if TYPE_CHECKING:
    from qcore.app import App
    from qcore.cli.session import Session


@click.command("monitor")
@click.option("--once", is_flag=True, help="Print plain lines once, on a terminal too.")
@click.option("--follow", is_flag=True, help="Print plain lines again and again.")
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(min=0.2),
    default=1.0,
    show_default=True,
    help="Time between two reads.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with --follow one a line.")
@click.pass_obj
def command(session: Session, once: bool, follow: bool, every: float, as_json: bool) -> int:
    """Watch the queue on the whole screen: clusters, running tasks, failures, schedules.

    Keys: q quits, p pauses or resumes the queue, tab and arrows choose an item, enter shows its
    details, r requeues a dead letter, c cancels a running task, ? shows help. If standard output
    is not a terminal, plain lines are printed once.
    """
    if once and follow:
        msg = "--once and --follow exclude each other"
        raise click.UsageError(msg)
    app = session.app
    if once or follow or as_json or not _terminal():
        return _print(app, every=every, follow=follow, as_json=as_json)
    # both are heavy, and only for a terminal
    from qcore_monitor.screen import Screen  # noqa: PLC0415 - as said
    from qcore_monitor.terminal import Terminal  # noqa: PLC0415 - as said

    # A fault of the configuration and a missing queue are reported before the screen is taken.
    _require_queue(app)
    marks = glyphs_for(sys.stdout, os.environ)
    return Screen(app, Terminal(sys.stdin, sys.stdout), marks, every).run()


def _require_queue(app: App) -> None:
    """Raise `QueueMissing` where there is no queue; one whose broker is away is watched until it is back."""
    try:
        with app.runtime.brokers.connection():
            pass
    except QueueMissing:
        raise
    except BackendUnavailable:
        return


def _terminal() -> bool:
    """Whether there is a terminal that can be painted and pressed keys on."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in {"", "dumb"}


def _print(app: App, *, every: float, follow: bool, as_json: bool) -> Exit:
    watcher = Watcher(app)
    while True:
        began = time.monotonic()
        snapshot = watcher.look()
        if as_json:
            say_json(snapshot.record())
        else:
            for text in lines(snapshot, time.time(), max_width()):
                say(text)
            for trouble in snapshot.troubles:
                say(f"qcore: {line(trouble)}", error=True)
        if not follow:
            return Exit.UNAVAILABLE if snapshot.troubles else Exit.OK
        sys.stdout.flush()
        time.sleep(max(0.0, began + every - time.monotonic()))
        if not as_json:
            say()
