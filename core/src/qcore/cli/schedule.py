"""How schedules are listed, created, changed and previewed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from qcore.cli.enqueue import WithNumbers, as_arguments, as_named
from qcore.cli.exit_codes import Exit
from qcore.cli.purge import sure
from qcore.cli.text import json_option, say, say_json, table
from qcore.cli.timing import as_list, read_object, schedule_words, timing, when
from qcore.errors import QcoreError, ScheduleError, TaskNameError
from qcore_calendar import rules
from qcore_names.resolve import name_of
from qcore_text.sanitize import line
from qcore_text.wording import typed

if TYPE_CHECKING:
    from qcore.cli.session import Session
    from qcore_calendar.schedule import Schedule

_NAME: Final = click.argument("name", metavar="NAME")


@click.group("schedule")
def command() -> None:
    """List, create, update, preview, pause, resume, run or delete schedules."""


@command.command("list")
@json_option
@click.pass_obj
def list_(session: Session, as_json: bool) -> int:
    """List schedules by name, each with its next slot."""
    found = session.app.schedules.list()
    if as_json:
        say_json({"schedules": [_record(one) for one in found]})
        return Exit.OK
    if not found:
        say("no schedules", error=True)
        return Exit.OK
    rows = [(one.name, one.task, one.rule, _state(one), _options(one)) for one in found]
    if any(_options(one) for one in found):
        table(rows, ("name", "task", "rule", "next", "options"), soft=("name", "task", "rule"))
    else:
        table([row[:4] for row in rows], ("name", "task", "rule", "next"), soft=("name", "task", "rule"))
    return Exit.OK


@command.command("create", cls=WithNumbers)
@_NAME
@click.argument("function")
@click.argument("arguments", metavar="[ARGUMENTS]...", nargs=-1, callback=as_arguments)
@click.option("--kwargs", "named", metavar="JSON", callback=as_named, help="Named arguments, an object.")
@timing
@json_option
@click.pass_obj
def create(
    session: Session,
    /,
    name: str,
    function: str,
    arguments: list[Any],
    named: dict[str, Any],
    as_json: bool,
    **options: Any,
) -> int:
    """Create a schedule that calls FUNCTION, such as math.copysign.

    NAME is what the schedule is called. It replaces the schedule of the same name. Arguments are
    read as by qcore enqueue.
    """
    _check_order(name, function)
    said = {"name": name, **when(options)}
    clash = sorted((said.keys() | schedule_words(session.app)) & named.keys())
    if clash:
        msg = f"argument {clash[0]!r} is also an option of schedules; schedule a function that wraps this one"
        raise click.BadParameter(msg)
    return _print(session.app.schedules.create(function, *arguments, **named, **said), as_json=as_json)


def _check_order(name: str, function: str) -> None:
    """Refuse a function that has the place of the name, and its argument that of the function."""
    try:
        name_of(function)
    except TaskNameError as exc:
        try:
            called = name_of(name).rpartition(".")[2]
        except TaskNameError:
            raise exc from None
        msg = (
            f"{function.strip()!r} is not the name of a function, and {name!r} is: the name of the schedule "
            f"comes before it; write: {typed('schedule create')} {called} {name} {function.strip()} ..."
        )
        raise click.UsageError(msg) from exc


@command.command("update")
@_NAME
@click.option("--function", metavar="FUNCTION", help="What to call.")
@click.option("--args", "arguments", metavar="JSON", callback=as_list, help="Arguments, a list.")
@click.option("--kwargs", "named", metavar="JSON", help="Named arguments, an object.")
@timing
@json_option
@click.pass_obj
def update(
    session: Session,
    /,
    name: str,
    function: str | None,
    arguments: list[Any] | None,
    named: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Change parts of a schedule; the others stay, and so does its next slot if it can.

    An empty text removes an option: --hook '' or --cluster ''. A paused schedule stays paused, a
    broken one is tried again.
    """
    changes = when(options)
    changes |= {"func": function} if function is not None else {}
    changes |= {"args": arguments} if arguments is not None else {}
    changes |= {"kwargs": read_object(named)} if named is not None else {}
    if not changes:
        msg = f"nothing to change; {typed('schedule update')} --help shows what there is"
        raise click.UsageError(msg)
    return _print(session.app.schedules.update(name, **changes), as_json=as_json)


@command.command("preview")
@click.argument("what", metavar="NAME|RULE")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many.")
@click.option("--time-zone", metavar="ZONE", help="Whose wall clock, for a rule.")
@json_option
@click.pass_obj
def preview(session: Session, what: str, count: int, time_zone: str | None, as_json: bool) -> int:
    """Print the next slots of a schedule, or of a rule such as '*/5 * * * *', daily or 'every 90'."""
    slots = session.app.schedules.preview(what, count, time_zone=time_zone)
    if as_json:
        say_json({"slots": [slot.isoformat() for slot in slots]})
    else:
        for slot in slots:
            say(_shown(slot))
    return Exit.OK


@command.command("pause")
@_NAME
@json_option
@click.pass_obj
def pause(session: Session, name: str, as_json: bool) -> int:
    """Pause a schedule: it fires no slots until it is resumed."""
    return _print(session.app.schedules.pause(name), as_json=as_json)


@command.command("resume")
@_NAME
@json_option
@click.pass_obj
def resume(session: Session, name: str, as_json: bool) -> int:
    """Resume a paused or broken schedule with its next slot."""
    return _print(session.app.schedules.resume(name), as_json=as_json)


@command.command("run")
@_NAME
@json_option
@click.pass_obj
def run(session: Session, name: str, as_json: bool) -> int:
    """Enqueue a schedule's task now and print the task's id; its slots stay as they are."""
    job = session.app.schedules.run(name)
    if as_json:
        say_json({"id": job.id})
    else:
        say(job.id)
    return Exit.OK


@command.command("delete")
@_NAME
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def delete(session: Session, name: str, yes: bool, as_json: bool) -> int:
    """Delete a schedule; the tasks it has enqueued stay."""
    if not yes:
        sure(f"Delete the schedule {line(name)!r}?")
    if not session.app.schedules.delete(name):
        msg = f"no schedule {line(name)!r}; {typed('schedule list')} shows those there are"
        raise QcoreError(msg)
    if as_json:
        say_json({"deleted": name})
    else:
        say(f"{line(name)} deleted")
    return Exit.OK


def _print(one: Schedule, *, as_json: bool) -> Exit:
    if as_json:
        say_json(_record(one))
    else:
        say(line(f"{one.name}: {one.rule}, {_state(one)}"))
    return Exit.OK


def _state(one: Schedule) -> str:
    if one.fault:
        return f"broken: {one.fault}"
    if one.repeats == 0:
        return "paused" if one.kept else "done"
    return _next(one) + (f", {one.repeats} left" if one.repeats > 0 else "")


def _options(one: Schedule) -> str:
    """Return the options that most schedules do not have."""
    found = [
        one.overlap if one.overlap != "allow" else "",
        f"jitter {one.jitter:g} s" if one.jitter else "",
        f"cluster {one.cluster}" if one.cluster else "",
        f"by {one.declared}" if one.declared else "",
    ]
    return ", ".join(filter(None, found))


def _next(one: Schedule) -> str:
    try:
        return _shown(datetime.fromtimestamp(one.next_run, rules.zone(one.time_zone)))
    except ScheduleError as exc:
        return str(exc)
    except (ValueError, OverflowError):
        # A store may have a time that is refused today.
        return f"{one.next_run!r} is not a time; give --next-run"


def _shown(slot: datetime) -> str:
    return f"{slot:%Y-%m-%d %H:%M:%S %z}"


def _record(one: Schedule) -> dict[str, object]:
    """Return the fields for JSON; the arguments are left out."""
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
        "overlap": one.overlap,
        "jitter": one.jitter,
        "cluster": one.cluster,
        "declared": one.declared,
        "fault": one.fault,
    }
