"""Which dead letters are shown, put back or dropped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from qcore.cli.dead_letter import read, read_arguments
from qcore.cli.exit_codes import Exit
from qcore.cli.purge import sure
from qcore.cli.text import plain, say, say_json, seconds, shown, table
from qcore.errors import QcoreError
from qcore.messages.envelope import task_id
from qcore.messages.results import forget_failures
from qcore.sanitize import clean, line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qcore.cli.session import Session
    from qcore.interfaces import Broker
    from qcore.model import DeadLetter
    from qcore.runtime import Runtime

#: Letters asked for at once.
_PAGE: Final = 500
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_IDS: Final = click.argument("ids", metavar="[ID]...", nargs=-1)


@click.group("dead-letters")
def command() -> None:
    """List, show, requeue or drop dead letters.

    A dead letter is a message no worker will take again by itself. ID is the name the broker
    gives it, the first column of the list, or the id of its task.
    """


@command.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Most letters.")
@click.option("--after", metavar="ID", help="Begin behind this one.")
@_JSON
@click.pass_obj
def list_(session: Session, limit: int, after: str | None, as_json: bool) -> int:
    """List dead letters, the oldest first; nothing of their arguments is read."""
    with session.runtime.brokers.connection() as broker:
        _must_keep_letters(broker)
        found = [read(session.runtime, one) for one in broker.dead_letters(limit, after)]
    if as_json:
        say_json({"dead_letters": [letter.record() for letter in found]})
        return Exit.OK
    if not found:
        say("no dead letters", error=True)
        return Exit.OK
    now = time.time()
    rows = [(one.id, one.called, f"{seconds(now - one.dead_since)} ago", one.reason) for one in found]
    table(rows, ("id", "task", "dead since", "reason"))
    if len(found) == limit:
        say(f"there may be more: --after {line(found[-1].id)}", error=True)
    return Exit.OK


@command.command("show")
@click.argument("id_", metavar="ID")
@click.option("--args", "arguments", is_flag=True, help="Decode and show the arguments: users' data.")
@_JSON
@click.pass_obj
def show(session: Session, id_: str, arguments: bool, as_json: bool) -> int:
    """Show one dead letter, and its arguments only with --args."""
    runtime = session.runtime
    with runtime.brokers.connection() as broker:
        _must_keep_letters(broker)
        body = _named(broker, runtime, [id_])[0]
    letter = read(runtime, body)
    record: dict[str, Any] = letter.record()
    if arguments:
        args, kwargs = read_arguments(runtime, body)
        record |= {"args": plain(args), "kwargs": plain(kwargs)}
    if as_json:
        say_json(record)
        return Exit.OK
    for key, value in record.items():
        if value not in (None, ""):
            say(f"{key:<12} {shown(value) if key in {'args', 'kwargs'} else line(_worded(key, value))}")
    if not arguments and not letter.fault:
        say("its arguments are not read; --args decodes and shows them", error=True)
    return Exit.OK


@command.command("requeue")
@_IDS
@click.option("--all", "everything", is_flag=True, help="All there are now.")
@_JSON
@click.pass_obj
def requeue(session: Session, ids: tuple[str, ...], everything: bool, as_json: bool) -> int:
    """Put dead letters back on the queue; their attempts are counted anew."""
    return _done("requeued", _chosen(session, ids, everything, _put_back), as_json)


@command.command("drop")
@_IDS
@click.option("--all", "everything", is_flag=True, help="All there are now.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
@click.pass_obj
def drop(session: Session, ids: tuple[str, ...], everything: bool, yes: bool, as_json: bool) -> int:
    """Remove dead letters for good; results of their tasks stay."""
    if everything and not yes:
        sure(f"Drop every dead letter of the queue {session.config.name!r} for good?")
    return _done("dropped", _chosen(session, ids, everything, _drop), as_json)


def _chosen(
    session: Session,
    ids: tuple[str, ...],
    everything: bool,
    deed: Callable[[Runtime, Broker, Sequence[DeadLetter]], int],
) -> int:
    """Do it with the letters named, or with all there are; return with how many it was done."""
    if bool(ids) == everything:
        msg = "name dead letters by their ids, or say --all"
        raise click.UsageError(msg)
    runtime = session.runtime
    with runtime.brokers.connection() as broker:
        _must_keep_letters(broker)
        chosen = list(_every(broker)) if everything else _named(broker, runtime, ids)
        pages = [chosen[start : start + _PAGE] for start in range(0, len(chosen), _PAGE)]
        return sum(deed(runtime, broker, page) for page in pages)


def _put_back(runtime: Runtime, broker: Broker, letters: Sequence[DeadLetter]) -> int:
    # Whoever waits for the new result must not be handed the old failure.
    tasks = [bytes.fromhex(one) for one in map(task_id, [letter.body for letter in letters]) if one]
    with runtime.stores.connection() as store:
        forget_failures(store, tasks)
    return broker.requeue([one.id for one in letters])


def _drop(_: Runtime, broker: Broker, letters: Sequence[DeadLetter]) -> int:
    return broker.delete([one.id for one in letters])


def _done(what: str, count: int, as_json: bool) -> Exit:
    if as_json:
        say_json({what: count})
    else:
        say(f"{count:,} {'dead letter' if count == 1 else 'dead letters'} {what}")
    return Exit.OK


def _must_keep_letters(broker: Broker) -> None:
    if not broker.capabilities.dead_letter:
        msg = f"this broker keeps no dead letters: {broker.info()}"
        raise QcoreError(msg)


def _every(broker: Broker) -> Iterator[DeadLetter]:
    after = None
    while page := broker.dead_letters(_PAGE, after):
        yield from page
        after = page[-1].id


def _named(broker: Broker, runtime: Runtime, ids: Sequence[str]) -> list[DeadLetter]:
    """Return the letters of these names: all of them, or an error and nothing is done."""
    wanted = set(ids)
    found: dict[str, DeadLetter] = {}
    for one in _every(broker):
        for name in {one.id, read(runtime, one).task_id} & wanted:
            found[name] = one
        if len(found) == len(wanted):
            break
    missing = [name for name in ids if name not in found]
    if missing:
        msg = f"no dead letter {clean(missing[0])!r}; qcore dead-letters list shows those there are"
        raise QcoreError(msg)
    return list({one.id: one for one in found.values()}.values())


def _worded(key: str, value: object) -> str:
    if key in {"dead_since", "enqueued"} and isinstance(value, float):
        return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(value))
    return str(value)
