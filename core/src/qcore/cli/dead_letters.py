"""Which dead letters are shown, requeued or dropped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from qcore.cli.dead_letter import read, read_arguments
from qcore.cli.exit_codes import Exit
from qcore.cli.formatting import short, span
from qcore.cli.ids import every_dead_letter, one_of
from qcore.cli.key_usage import is_sealed_with, reseal_dead_letters
from qcore.cli.purge import sure
from qcore.cli.text import columns, cut, json_option, max_width, plain, say, say_json, shown
from qcore.errors import QcoreError
from qcore.messages.envelope import task_id
from qcore.messages.saving import forget_failures
from qcore_text.sanitize import line
from qcore_text.wording import counted, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qcore.cli.dead_letter import DeadLetterView
    from qcore.cli.session import Session
    from qcore.interfaces import Broker
    from qcore.model import DeadLetter
    from qcore.runtime import Runtime

#: Dead letters requeued or dropped at once.
_PAGE: Final = 500
#: Characters of an id above which its end is shown on a terminal.
_LONG: Final = 12
_KEY: Final = click.option(
    "--key", metavar="KEY", default="", help="All that the key of this id has signed, see qcore keys check."
)
_IDS: Final = click.argument("ids", metavar="[ID]...", nargs=-1)


@click.group("dead-letters")
def command() -> None:
    """List, show, requeue or drop dead letters.

    A dead letter is a message that is not delivered any more. ID is the one the broker gives it,
    the first column of the list, or that of its task; the first or last four characters or more
    are enough where they are unique.
    """


@command.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many at most.")
@click.option("--after", metavar="ID", help="Start after this one.")
@json_option
@click.pass_obj
def list_(session: Session, limit: int, after: str | None, as_json: bool) -> int:
    """List dead letters, the oldest first; their arguments are not read."""
    with session.runtime.brokers.connection() as broker:
        _require_dead_letters(broker)
        after = None if after is None else _named(broker, session.runtime, [after])[0].id
        found = [read(session.runtime, one) for one in broker.dead_letters(limit, after)]
    if as_json:
        say_json({"dead_letters": [one.record() for one in found]})
        return Exit.OK
    if not found:
        say("no dead letters", error=True)
        return Exit.OK
    for text in listing(found, time.time(), max_width()):
        say(text)
    if len(found) == limit:
        say(f"there may be more: --after {line(found[-1].id)}", error=True)
    return Exit.OK


def listing(found: Sequence[DeadLetterView], now: float, max_width: int | None) -> list[str]:
    """Return a table of dead letters; on a terminal with `room` columns the ends of long ids."""
    rows = [
        (
            one.id if max_width is None or len(one.id) <= _LONG else short(one.id),
            one.called,
            span(now - one.dead_since),
            one.reason,
        )
        for one in found
    ]
    heads = ("id", "task", "dead for", "reason")
    lines = columns(rows, heads, right=("dead for",), soft=("task", "reason"), max_width=max_width)
    return [cut(text, max_width) for text in lines]


@command.command("show")
@click.argument("id_", metavar="ID")
@click.option("--args", "arguments", is_flag=True, help="Decode and show the arguments: users' data.")
@json_option
@click.pass_obj
def show(session: Session, id_: str, arguments: bool, as_json: bool) -> int:
    """Show one dead letter; its arguments are shown only with --args."""
    runtime = session.runtime
    with runtime.brokers.connection() as broker:
        _require_dead_letters(broker)
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
            say(f"{key:<12} {shown(value) if key in {'args', 'kwargs'} else line(_written(key, value))}")
    if not arguments and not letter.fault:
        say("its arguments are not shown; --args decodes and shows them", error=True)
    return Exit.OK


@command.command("requeue")
@_IDS
@click.option("--all", "everything", is_flag=True, help="All there are now.")
@_KEY
@json_option
@click.pass_obj
def requeue(session: Session, ids: tuple[str, ...], everything: bool, key: str, as_json: bool) -> int:
    """Enqueue dead letters again; their attempts are counted from zero."""
    return _done("requeued", _each(session, ids, everything, key, requeue_all), as_json)


@command.command("drop")
@_IDS
@click.option("--all", "everything", is_flag=True, help="All there are now.")
@_KEY
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def drop(session: Session, ids: tuple[str, ...], everything: bool, key: str, yes: bool, as_json: bool) -> int:
    """Remove dead letters for good; the results of their tasks stay."""
    if not yes and (ids or everything or key):
        which = "every dead letter" if everything else counted(len(set(ids)), "dead letter")
        which = f"every dead letter of key {line(key)}" if key else which
        sure(f"Drop {which} of the queue {session.config.name!r} for good?")
    return _done("dropped", _each(session, ids, everything, key, _drop), as_json)


def _each(
    session: Session,
    ids: tuple[str, ...],
    everything: bool,
    key: str,
    action: Callable[[Runtime, Broker, Sequence[DeadLetter]], int],
) -> int:
    """Do something with the dead letters named, or with all; return with how many it was done."""
    if bool(ids) + everything + bool(key) != 1:
        msg = "give the ids of dead letters, --all, or --key"
        raise click.UsageError(msg)
    runtime = session.runtime
    with runtime.brokers.connection() as broker:
        _require_dead_letters(broker)
        chosen = _named(broker, runtime, ids) if ids else list(every_dead_letter(broker))
        if key:
            chosen = [one for one in chosen if is_sealed_with(one, key)]
        pages = [chosen[start : start + _PAGE] for start in range(0, len(chosen), _PAGE)]
        return sum(action(runtime, broker, page) for page in pages)


def requeue_all(runtime: Runtime, broker: Broker, chosen: Sequence[DeadLetter]) -> int:
    """Enqueue dead letters again, sealed with the first key; return how many it was done with."""
    # A program that waits for the new result must not get the old failure.
    tasks = [bytes.fromhex(one) for one in map(task_id, [one.body for one in chosen]) if one]
    with runtime.stores.connection() as store:
        forget_failures(store, tasks)
    reseal_dead_letters(runtime, broker, chosen)
    return broker.requeue([one.id for one in chosen])


def _drop(_: Runtime, broker: Broker, chosen: Sequence[DeadLetter]) -> int:
    return broker.delete([one.id for one in chosen])


def _done(what: str, count: int, as_json: bool) -> Exit:
    if as_json:
        say_json({what: count})
    else:
        say(f"{counted(count, 'dead letter')} {what}")
    return Exit.OK


def _require_dead_letters(broker: Broker) -> None:
    if not broker.capabilities.dead_letters:
        msg = f"this broker keeps no dead letters: {broker.info()}"
        raise QcoreError(msg)


def _named(broker: Broker, runtime: Runtime, ids: Sequence[str]) -> list[DeadLetter]:
    """Return the dead letters of these ids: all of them, or an error and nothing is done."""
    known: dict[str, DeadLetter] = {}
    for one in every_dead_letter(broker):
        known[one.id] = one
        known[read(runtime, one).task_id] = one
    missing = f"no dead letter {{!r}}; {typed('dead-letters list')} shows those there are"
    found = [one_of(id_, known, missing) for id_ in ids]
    return list({one.id: one for one in found}.values())


def _written(key: str, value: object) -> str:
    if key in {"dead_since", "enqueued"} and isinstance(value, float):
        return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(value))
    return str(value)
