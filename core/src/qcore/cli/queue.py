"""How the queues of a name are shown, paused, moved and purged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from qcore.cli.exit_codes import Exit
from qcore.cli.formatting import span
from qcore.cli.purge import sure
from qcore.cli.text import columns, cut, max_width, plain, say, say_json, shown
from qcore.sanitize import line
from qcore.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.cli.session import Session
    from qcore_queues.view import QueueInfo, WaitingTask

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_NAME = click.argument("name", metavar="QUEUE")


@click.group("queue")
def command() -> None:
    """List, show, pause, resume, purge or move the queues of a name.

    A task that names no queue is in the queue `default`.
    """


@command.command("list")
@_JSON
@click.pass_obj
def list_(session: Session, as_json: bool) -> int:
    """List the queues that have messages or are paused."""
    found = session.app.queue.list()
    if as_json:
        say_json({"queues": [attrs.asdict(one) for one in found]})
        return Exit.OK
    for text in table(found):
        say(text)
    return Exit.OK


def table(found: Sequence[QueueInfo]) -> list[str]:
    """Return a table of queues."""
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
    return columns(rows, heads, right=heads[1:5], soft=("queue",), max_width=max_width())


@command.command("show")
@_NAME
@_JSON
@click.pass_obj
def show(session: Session, name: str, as_json: bool) -> int:
    """Show one queue."""
    found = next((one for one in session.app.queue.list() if one.name == name), None)
    if found is None:
        say(f"no messages in the queue {line(name)}; qcore queue list has those there are", error=True)
        return Exit.FAILED
    if as_json:
        say_json(attrs.asdict(found))
        return Exit.OK
    for text in table([found]):
        say(text)
    return Exit.OK


@command.command("tasks")
@click.option("--queue", metavar="QUEUE", help="Of this queue alone.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.option("--args", "arguments", is_flag=True, help="Decode and show the arguments: users' data.")
@_JSON
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
    width = max_width()
    for text in columns(rows, heads, right=("priority", "age", "in"), soft=("task",), max_width=width):
        say(cut(text, width))
    if len(found) == limit:
        say(f"there may be more: --limit {limit * 2}", error=True)
    return Exit.OK


@command.command("pause")
@_NAME
@_JSON
@click.pass_obj
def pause(session: Session, name: str, as_json: bool) -> int:
    """Pause one queue: no worker takes tasks of it until it is resumed."""
    session.app.queue.pause(name)
    return _print_state(name, paused=True, as_json=as_json)


@command.command("resume")
@_NAME
@_JSON
@click.pass_obj
def resume(session: Session, name: str, as_json: bool) -> int:
    """Resume one queue."""
    session.app.queue.resume(name)
    return _print_state(name, paused=False, as_json=as_json)


@command.command("purge")
@_NAME
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
@click.pass_obj
def purge(session: Session, name: str, yes: bool, as_json: bool) -> int:
    """Remove every waiting task of one queue; running tasks and dead letters stay."""
    return _change(
        f"Remove the waiting tasks of the queue {line(name)!r} for good?",
        lambda: session.app.queue.purge(name),
        "purged",
        yes=yes,
        as_json=as_json,
    )


@command.command("move")
@_NAME
@click.argument("target", metavar="TARGET")
@_JSON
@click.pass_obj
def move(session: Session, name: str, target: str, as_json: bool) -> int:
    """Put every waiting task of one queue into another one of the same name."""
    return _change("", lambda: session.app.queue.move(name, target), "moved", yes=True, as_json=as_json)


def _change(question: str, change: Callable[[], int], done: str, *, yes: bool, as_json: bool) -> Exit:
    if not yes:
        sure(question)
    count = change()
    if as_json:
        say_json({done: count})
    else:
        say(f"{counted(count, 'task')} {'removed' if done == 'purged' else done}")
    return Exit.OK


def _print_state(name: str, *, paused: bool, as_json: bool) -> Exit:
    if as_json:
        say_json({"queue": name, "paused": paused})
    else:
        say(f"queue {line(name)} {'paused' if paused else 'resumed'}")
    return Exit.OK


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
