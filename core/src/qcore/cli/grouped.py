"""How the results of a result group are shown and deleted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import attrs
import click

from qcore.cli.exit_codes import Exit
from qcore.cli.formatting import span
from qcore.cli.purge import sure
from qcore.cli.text import json_option, plain, say, say_json, shown, table
from qcore_text.sanitize import line
from qcore_text.wording import counted

if TYPE_CHECKING:
    from qcore.cli.session import Session
    from qcore.model import Result

_GROUP: Final = click.argument("group", metavar="GROUP")


@click.group("group")
def command() -> None:
    """Show or delete the results of a result group: of the tasks with the option group=GROUP."""


@command.command("show")
@_GROUP
@click.option("--wait", metavar="SECONDS", type=click.FloatRange(min=0), default=0.0, help="Wait for them.")
@click.option("--count", type=click.IntRange(min=1), help="How many to wait for; any by default.")
@json_option
@click.pass_obj
def show(session: Session, group: str, wait: float, count: int | None, as_json: bool) -> int:
    """Show the results of a result group, in the order the tasks finished.

    Exit code 1 if there are none, 75 if fewer than --count have ended.
    """
    found = session.app.results.fetch_group(group, wait=wait, count=count)
    if as_json:
        say_json({"group": group, "results": [_record(one) for one in found]})
    elif not found:
        say(f"qcore: no task of the result group {line(group)!r} has ended", error=True)
    else:
        now = time.time()
        rows = [
            (one.id, one.name, _how(one), f"{span(now - one.finished)} ago", _outcome(one)) for one in found
        ]
        table(rows, ("task id", "task", "state", "ended", "result"), soft=("task", "result"))
    if count is not None and len(found) < count:
        return Exit.NOT_YET
    return Exit.OK if found else Exit.FAILED


@command.command("delete")
@_GROUP
@click.option("--tasks", is_flag=True, help="Delete the results as well.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def delete(session: Session, group: str, tasks: bool, yes: bool, as_json: bool) -> int:
    """Dissolve a result group; its results stay, unless --tasks is given."""
    if not yes:
        count = counted(session.app.results.count_group(group), "result")
        what = f"Delete {count} of" if tasks else f"Take {count} out of"
        sure(f"{what} the result group {line(group)!r} for good?")
    done = session.app.results.delete_group(group, tasks=tasks)
    if as_json:
        say_json({"group": group, "deleted" if tasks else "ungrouped": done})
    else:
        say(f"{counted(done, 'result')} {'deleted' if tasks else 'taken out of the result group'}")
    return Exit.OK


def _how(one: Result) -> str:
    if one.interrupted or one.begun:
        return "interrupted" if one.interrupted else "begun"
    return "cancelled" if one.cancelled else one.state.name.lower()


def _outcome(one: Result) -> str:
    return shown(one.value) if one.success else one.error


def _record(one: Result) -> dict[str, object]:
    record = attrs.asdict(one, recurse=False, filter=attrs.filters.exclude("arguments"))
    return {**record, "state": one.state.name.lower(), "value": plain(one.value)}
