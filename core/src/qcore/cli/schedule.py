"""What of schedules is listed, foreseen, changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from qcore import cadence
from qcore.cli.enqueue import WithNumbers, as_arguments, as_named
from qcore.cli.exits import Exit
from qcore.cli.purge import sure
from qcore.cli.text import line, say, say_json, table
from qcore.errors import QcoreError, ScheduleError

if TYPE_CHECKING:
    from qcore.cli.session import Session
    from qcore.model import Schedule

_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_NAME: Final = click.argument("name", metavar="NAME")


@click.group("schedule")
def command() -> None:
    """List, add, preview, pause, resume, run or delete schedules."""


@command.command("list")
@_JSON
@click.pass_obj
def list_(session: Session, as_json: bool) -> int:
    """List schedules by name, with the next slot of each."""
    found = session.app.schedules()
    if as_json:
        say_json({"schedules": [_record(one) for one in found]})
        return Exit.OK
    if not found:
        say("no schedules", error=True)
        return Exit.OK
    rows = [(one.name, one.task, one.rule, _state(one)) for one in found]
    table(rows, ("name", "task", "rule", "next"))
    return Exit.OK


@command.command("add", cls=WithNumbers)
@_NAME
@click.argument("function")
@click.argument("arguments", metavar="[ARGUMENTS]...", nargs=-1, callback=as_arguments)
@click.option("--kwargs", "named", metavar="JSON", callback=as_named, help="Named arguments, an object.")
@click.option("--every", metavar="SECONDS", type=click.IntRange(min=1), help="A real cadence.")
@click.option("--cron", "expression", metavar="TEXT", help="An expression such as '*/5 * * * *'.")
@click.option("--type", "kind", type=click.Choice(cadence.NAMES), help="A step on the calendar.")
@click.option("--next-run", metavar="TIME", help="First slot, such as '2030-01-31 09:00'.")
@click.option("--repeats", type=click.IntRange(min=-1), default=-1, show_default=True, help="-1 = no limit.")
@click.option("--time-zone", metavar="ZONE", help="Whose wall clock, such as Europe/Paris.")
@click.option("--catch-up/--no-catch-up", default=None, help="Make up for each missed slot, or for one.")
@_JSON
@click.pass_obj
def add(
    session: Session,
    name: str,
    function: str,
    arguments: list[Any],
    named: dict[str, Any],
    every: int | None,
    expression: str | None,
    kind: str | None,
    next_run: str | None,
    repeats: int,
    time_zone: str | None,
    catch_up: bool | None,
    as_json: bool,
) -> int:
    """Have FUNCTION, such as math.copysign, called again and again.

    A schedule of the same name is replaced. Arguments are read as `qcore enqueue` reads them.
    """
    told: dict[str, Any] = {
        "name": name,
        "every": timedelta(seconds=every) if every else None,
        "cron": expression,
        "type": kind,
        "repeats": repeats,
        "next_run": _time(next_run),
        "time_zone": time_zone,
        "catch_up": catch_up,
    }
    clash = sorted(told.keys() & named.keys())
    if clash:
        msg = f"the function's argument {clash[0]!r} is a word of schedules; use app.schedule with a wrapper"
        raise click.BadParameter(msg)
    return _told(session.app.schedule(function, *arguments, **named, **told), as_json=as_json)


@command.command("preview")
@click.argument("what", metavar="NAME|RULE")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many.")
@click.option("--time-zone", metavar="ZONE", help="Whose wall clock, for a rule.")
@_JSON
@click.pass_obj
def preview(session: Session, what: str, count: int, time_zone: str | None, as_json: bool) -> int:
    """Print the next slots of a schedule, or of a rule such as '*/5 * * * *', daily or 'every 90'."""
    slots = session.app.preview(what, count, time_zone=time_zone)
    if as_json:
        say_json({"slots": [slot.isoformat() for slot in slots]})
    else:
        for slot in slots:
            say(_shown(slot))
    return Exit.OK


@command.command("pause")
@_NAME
@_JSON
@click.pass_obj
def pause(session: Session, name: str, as_json: bool) -> int:
    """Let a schedule rest until it is resumed."""
    return _told(session.app.pause(name), as_json=as_json)


@command.command("resume")
@_NAME
@_JSON
@click.pass_obj
def resume(session: Session, name: str, as_json: bool) -> int:
    """Let a paused or broken schedule go on with its next slot."""
    return _told(session.app.resume(name), as_json=as_json)


@command.command("run")
@_NAME
@_JSON
@click.pass_obj
def run(session: Session, name: str, as_json: bool) -> int:
    """Enqueue a schedule's task now and print the task's id; its slots stay as they are."""
    job = session.app.run_now(name)
    if as_json:
        say_json({"id": job.id})
    else:
        say(job.id)
    return Exit.OK


@command.command("delete")
@_NAME
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
@click.pass_obj
def delete(session: Session, name: str, yes: bool, as_json: bool) -> int:
    """Forget a schedule; tasks it has enqueued stay."""
    if not yes:
        sure(f"Delete the schedule {line(name)!r}?")
    if not session.app.unschedule(name):
        msg = f"no schedule {line(name)!r}; qcore schedule list shows those there are"
        raise QcoreError(msg)
    if as_json:
        say_json({"deleted": name})
    else:
        say(f"{line(name)} deleted")
    return Exit.OK


def _told(one: Schedule, *, as_json: bool) -> Exit:
    if as_json:
        say_json(_record(one))
    else:
        say(line(f"{one.name}: {_state(one)}"))
    return Exit.OK


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError as exc:
        msg = f"{text!r} is no time; write it such as '2030-01-31 09:00' or 2030-01-31T09:00+01:00"
        raise click.BadParameter(msg) from exc


def _state(one: Schedule) -> str:
    if one.fault:
        return f"broken: {one.fault}"
    if one.repeats == 0:
        return "paused" if one.kept else "done"
    return _next(one) + (f", {one.repeats} left" if one.repeats > 0 else "")


def _next(one: Schedule) -> str:
    try:
        return _shown(datetime.fromtimestamp(one.next_run, cadence.zone(one.time_zone)))
    except ScheduleError as exc:
        return str(exc)


def _shown(slot: datetime) -> str:
    return f"{slot:%Y-%m-%d %H:%M:%S %z}"


def _record(one: Schedule) -> dict[str, object]:
    """Return what a program may know: nothing of the arguments."""
    state = "broken" if one.fault else "waiting" if one.repeats else "paused" if one.kept else "done"
    return {
        "name": one.name,
        "task": one.task,
        "rule": one.rule,
        "time_zone": one.time_zone,
        "state": state,
        "next_run": one.next_run,
        "repeats": one.repeats,
        "catch_up": one.catch_up,
        "fault": one.fault,
    }
