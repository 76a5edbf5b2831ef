"""How options of a command line become a schedule's rule."""

from __future__ import annotations

import inspect
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

import click

from qcore.cli.enqueue import as_named
from qcore_calendar import rules
from qcore_calendar.when import Overlap

if TYPE_CHECKING:
    from collections.abc import Callable

    from qcore.app import App

_F = TypeVar("_F", bound="Callable[..., Any]")

_OPTIONS: Final = (
    click.option("--every", metavar="SECONDS", type=click.IntRange(min=1), help="A fixed interval."),
    click.option("--cron", metavar="TEXT", help="An expression such as '*/5 * * * *'."),
    click.option("--type", type=click.Choice(rules.NAMES), help="A step on the calendar."),
    click.option("--next-run", metavar="TIME", help="First slot, such as '2030-01-31 09:00'."),
    click.option("--repeats", type=click.IntRange(min=-1), help="How many slots; -1 = no limit."),
    click.option("--time-zone", metavar="ZONE", help="Whose wall clock, such as Europe/Paris."),
    click.option(
        "--catch-up/--no-catch-up", default=None, help="Fire each missed slot later, or only the newest."
    ),
    click.option(
        "--overlap",
        type=click.Choice(get_args(Overlap)),
        help="What to do with a slot while an earlier slot's task has not ended.",
    ),
    click.option(
        "--jitter",
        metavar="SECONDS",
        type=click.FloatRange(min=0),
        help="Most seconds by which a task is delayed.",
    ),
    click.option("--cluster", metavar="NAME", help="Name of the clusters that run its tasks."),
    click.option("--queue", metavar="QUEUE", help="Queue that its tasks are put on."),
    click.option("--priority", type=click.IntRange(-100, 100), help="Higher ones run first; 0 unless given."),
    click.option("--hook", metavar="FUNCTION", help="Called with the result of each task."),
    click.option("--date-kwarg", metavar="NAME", help="Argument that is given the slot's time."),
    click.option("--options", "q_options", metavar="JSON", help="Options of its tasks, an object."),
)


def timing(command: _F) -> _F:
    """Give a command the options of a schedule: a decorator."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def when(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options as arguments of `App.schedules.create`; empty texts become None."""
    said = {key: value for key, value in options.items() if value is not None}
    if "every" in said:
        said["every"] = timedelta(seconds=said["every"])
    if "next_run" in said:
        said["next_run"] = _time(said["next_run"])
    if "q_options" in said:
        said["q_options"] = read_object(said["q_options"])
    if "date_kwarg" in said:
        said["intended_date_kwarg"] = said.pop("date_kwarg") or None
    for key in ("hook", "cluster", "queue"):
        if key in said:
            said[key] = said[key] or None
    return said


def schedule_words(app: App) -> set[str]:
    """Return the named parameters of `App.schedules.create`."""
    kinds = inspect.signature(app.schedules.create).parameters.values()
    return {one.name for one in kinds if one.kind is one.KEYWORD_ONLY}


def as_list(_: click.Context, __: click.Parameter, text: str | None) -> list[Any] | None:
    """Read a JSON list as arguments of a task; a callback of click."""
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        msg = f"{text!r} is not JSON ({exc}); write a list such as '[1, \"two\"]'"
        raise click.BadParameter(msg) from exc
    if not isinstance(found, list):
        msg = f"{text!r} is not a JSON list; write one such as '[1, \"two\"]'"
        raise click.BadParameter(msg)
    return found


def read_object(text: str) -> dict[str, Any]:
    """Read a JSON object."""
    context = click.get_current_context()
    return as_named(context, context.command.params[0], text)


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as exc:
        msg = f"{text!r} is not a time; write it such as '2030-01-31 09:00' or 2030-01-31T09:00+01:00"
        raise click.BadParameter(msg) from exc
