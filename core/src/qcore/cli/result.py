"""How a task's result is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import click

from qcore.absence import explain
from qcore.cli.exit_codes import Exit
from qcore.cli.ids import as_task_id
from qcore.cli.text import plain, say, say_json, shown
from qcore.model import State
from qcore_text.sanitize import clean, line
from qcore_text.wording import counted

if TYPE_CHECKING:
    from qcore.absence import Absence
    from qcore.cli.session import Session
    from qcore.model import Result


@click.command("result")
@click.argument("task_id", metavar="ID", callback=as_task_id)
@click.option("--wait", metavar="SECONDS", type=click.FloatRange(min=0), default=0.0, help="Wait for it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all there is to know.")
@click.pass_obj
def command(session: Session, task_id: str, wait: float, as_json: bool) -> int:
    """Print what a task returned.

    ID is the id of the task, or the first or last digits of it where these are unique. A failure
    is printed on standard error, with exit code 1, and so is that nothing is known of the task;
    exit code 75 means that there is no result yet.
    """
    return print_result(session, task_id, session.app.results.fetch(task_id, wait), as_json=as_json)


def print_result(session: Session, task_id: str, result: Result | None, *, as_json: bool) -> Exit:
    """Print a result, or why there is none, and return the exit code that goes with it."""
    if result is None:
        return _print_absence(task_id, explain(session.runtime, task_id), as_json=as_json)
    if as_json:
        say_json(_record(result))
    elif result.state is State.SUCCESS:
        say(shown(result.value))
    else:
        if result.traceback:
            say(clean(result.traceback).rstrip(), error=True)
        runs = f"attempt {result.attempts}" + (
            f", {counted(result.crashes, 'crash', 'crashes')}" if result.crashes else ""
        )
        how = "was interrupted" if result.interrupted else "failed"
        if not result.state.final:
            how = "has begun" if result.begun else "failed and will run again"
        say(f"qcore: task {task_id} ({line(result.name)}) {how} ({runs}): {line(result.error)}", error=True)
    if not result.state.final:
        return Exit.NOT_YET
    return Exit.OK if result.state is State.SUCCESS else Exit.FAILED


def _print_absence(task_id: str, why: Absence, *, as_json: bool) -> Exit:
    if as_json:
        say_json({"id": task_id, "state": None, "reason": why.text})
    else:
        say(f"qcore: task {task_id} {why.text}", error=True)
    return Exit.FAILED if why.gone else Exit.NOT_YET


def _record(result: Result) -> dict[str, object]:
    record = attrs.asdict(result, recurse=False, filter=attrs.filters.exclude("arguments"))
    progress = result.progress and attrs.asdict(result.progress)
    readable = {"state": result.state.name.lower(), "value": plain(result.value), "progress": progress}
    return record | readable
