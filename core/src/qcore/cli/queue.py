"""How the queues of a name are shown, paused, moved and purged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from qcore.cli.exit_codes import Exit
from qcore.cli.formatting import span
from qcore.cli.pause import print_state
from qcore.cli.purge import sure
from qcore.cli.text import json_option, plain, say, say_json, shown, table
from qcore.errors import QcoreError
from qcore_text.sanitize import line
from qcore_text.wording import counted, typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.cli.session import Session
    from qcore_queues.view import QueueInfo, WaitingTask

_NAME = click.argument("name", metavar="QUEUE")


@click.group("queue")
def command() -> None:
    """List, show, pause, resume, purge or move the queues of a name.

    A task that names no queue is in the queue `default`.
    """


@command.command("list")
@json_option
@click.pass_obj
def list_(session: Session, as_json: bool) -> int:
    """List the queues that have messages or are paused."""
    found = session.app.queue.list()
    if as_json:
        say_json({"queues": [attrs.asdict(one) for one in found]})
    else:
        _print(found)
    return Exit.OK


@command.command("show")
@_NAME
@json_option
@click.pass_obj
def show(session: Session, name: str, as_json: bool) -> int:
    """Show one queue."""
    found = next((one for one in session.app.queue.list() if one.name == name), None)
    if found is None:
        msg = f"no messages in the queue {line(name)!r}; {typed('queue list')} shows those there are"
        raise QcoreError(msg)
    if as_json:
        say_json(attrs.asdict(found))
    else:
        _print([found])
    return Exit.OK


@command.command("tasks")
@click.option("--queue", metavar="QUEUE", help="Of this queue alone.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.option("--args", "arguments", is_flag=True, help="Decode and show the arguments: users' data.")
@json_option
@click.pass_obj
def tasks(session: Session, queue: str | None, limit: int, arguments: bool, as_json: bool) -> int:
    """List waiting tasks, those that begin first in front; arguments are shown only with --args."""
    found = session.app.waiting(limit, queue=queue, arguments=arguments)
    if as_json:
        say_json({"tasks": [_record(one) for one in found]})
        return Exit.OK
    if not found:
        say("no task waits", error=True)
        return Exit.OK
    heads = ("id", "task", "queue", "priority", "age", "in", *(("arguments",) if arguments else ()))
    rows = [_row(one, arguments=arguments) for one in found]
    table(rows, heads, right=("priority", "age", "in"), soft=("task",))
    if len(found) == limit:
        say(f"there may be more: --limit {limit * 2}", error=True)
    return Exit.OK


@command.command("pause")
@_NAME
@json_option
@click.pass_obj
def pause(session: Session, name: str, as_json: bool) -> int:
    """Pause one queue: no worker takes tasks of it until it is resumed."""
    session.app.queue.pause(name)
    return print_state(name, paused=True, as_json=as_json)


@command.command("resume")
@_NAME
@json_option
@click.pass_obj
def resume(session: Session, name: str, as_json: bool) -> int:
    """Resume one queue."""
    session.app.queue.resume(name)
    return print_state(name, paused=False, as_json=as_json)


@command.command("purge")
@_NAME
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def purge(session: Session, name: str, yes: bool, as_json: bool) -> int:
    """Remove every waiting task of one queue; running tasks and dead letters stay."""
    if not yes:
        sure(f"Remove the waiting tasks of the queue {line(name)!r} for good?")
    removed = session.app.queue.purge(name)
    if as_json:
        say_json({"purged": removed})
    else:
        say(f"{counted(removed, 'task')} removed")
    return Exit.OK


@command.command("move")
@_NAME
@click.argument("target", metavar="TARGET")
@json_option
@click.pass_obj
def move(session: Session, name: str, target: str, as_json: bool) -> int:
    """Put every waiting task of one queue into another one of the same name."""
    moved = session.app.queue.move(name, target)
    if as_json:
        say_json({"moved": moved})
    else:
        say(f"{counted(moved, 'task')} moved")
    return Exit.OK


def _print(found: Sequence[QueueInfo]) -> None:
    heads = ("queue", "ready", "leased", "delayed", "oldest", "state")
    rows = [
        (
            one.name,
            f"{one.ready:,}",
            _count(one.leased),
            _count(one.delayed),
            "" if one.oldest is None else span(one.oldest),
            "paused" if one.paused else "",
        )
        for one in found
    ]
    table(rows, heads, right=heads[1:5], soft=("queue",))


def _count(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _record(one: WaitingTask) -> dict[str, Any]:
    record = attrs.asdict(one, recurse=False)
    return record | {"args": plain(one.args), "kwargs": plain(one.kwargs)}


def _row(one: WaitingTask, *, arguments: bool) -> tuple[object, ...]:
    age = "" if one.age is None else span(one.age)
    row = (
        one.id,
        one.name or f"({one.fault})",
        one.queue,
        one.priority,
        age,
        span(one.delay) if one.delay else "",
    )
    if not arguments:
        return row
    return (
        *row,
        line(one.fault) if one.args is None else f"{shown(plain(one.args))} {shown(plain(one.kwargs))}",
    )
