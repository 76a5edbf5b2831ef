"""How a queue is drained into another broker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from qcore.app import App
from qcore.cli.drain import Mover
from qcore.cli.exit_codes import Exit
from qcore.cli.progress import progress
from qcore.cli.text import json_option, say, say_json
from qcore.config import Config
from qcore.errors import QcoreError
from qcore_queues.names import named
from qcore_settings import keyfile
from qcore_settings.rules import InvalidValue
from qcore_text.wording import counted, typed

if TYPE_CHECKING:
    from qcore.cli.session import Session
    from qcore.interfaces import Broker
    from qcore.model import QueueSize

#: Seconds messages of the source are ours: longer than any batch takes to arrive.
_LEASE = 300.0


@click.command("move")
@click.option("--from", "source", metavar="URL|FILE", required=True, help="Broker to take from.")
@click.option("--to", "target", metavar="URL|FILE", required=True, help="Broker to put on.")
@click.option("--name", metavar="NAME", help="`name` of the queue, if not the configured one.")
@json_option
@click.pass_obj
def command(session: Session, source: str, target: str, name: str | None, as_json: bool) -> int:
    """Drain a queue into the one of the same name on another broker.

    Messages are not opened: they stay signed as they are. Each arrives at least once; an
    interrupted move loses nothing and can be started again. Messages that are delayed, leased or
    dead letters stay where they are, and are counted at the end.

    A broker is given by its URL (sqlite:queue.db, redis://host:6379/0, ...) or by the TOML file
    that configures it. Exit code 1 if the target would not take everything, or if a queue of the
    source is paused and has messages.
    """
    from_, from_key = _config(session, source, name)
    to, to_key = _config(session, target, name)
    if from_.name != to.name:
        msg = (
            f"--from is the queue {from_.name!r} and --to {to.name!r}; messages are signed for their"
            " queue's name and would be refused under another, so both have to be the same"
        )
        raise click.UsageError(msg)
    known = to.keys()
    if from_key and to_key and from_.keys()[0] not in known:
        msg = (
            "--to does not know the secret_key that signs in --from: its workers would refuse what is moved;"
            f" give {target} the same key, or the old one as a second"
        )
        raise click.UsageError(msg)
    brokers = [_source(App(from_, plugins=session.plugins))]
    try:
        beside = None if to_key else _share_key(None if from_key and from_.secret_key else from_, to)
        brokers.append(App(to, plugins=session.plugins).runtime.make_broker())
        code = _move(from_.name, brokers[0], brokers[1], as_json=as_json)
        if beside is not None:
            say(beside, error=True)
        return code
    finally:
        for broker in brokers:
            broker.close()


def _share_key(from_: Config | None, to: Config) -> str | None:
    """Give a new queue in a file the key file of the old one; return what to say of its key.

    Args:
        from_: the old queue; None = its key is in `secret_key`.
        to: the new one, given by its URL.

    """
    queue, old = to.queue_file(to.name), None if from_ is None else from_.queue_file(to.name)
    if queue is None:
        return None
    beside = keyfile.path_beside(queue)
    try:
        if old is not None and keyfile.path_beside(old).exists():
            keys = keyfile.read_file(keyfile.path_beside(old))
            made = keyfile.make(queue, "\n".join(keys))
            if made is None and keys[0] not in keyfile.read_file(beside):
                msg = (
                    f"the key file {str(beside)!r} is not that of {str(old)!r}: workers of the new queue "
                    "would refuse what is moved; add the old key to it, or name another file in --to"
                )
                raise click.UsageError(msg)
            return None if made is None else f"the key of the new queue is in {beside}, a copy"
    except InvalidValue as exc:
        raise click.ClickException(str(exc)) from exc
    return f"{queue} needs the key of the old queue: keep `secret_key` and `name` in its configuration"


def _source(app: App) -> Broker:
    """Connect to the broker that is drained; its leases last for one batch, unless messages fix their own."""
    broker = app.runtime.make_broker(create=False)
    if broker.capabilities.fixed_lease:
        return broker
    broker.close()
    return app.runtime.make_broker(retry=_LEASE, create=False)


def _move(name: str, source: Broker, target: Broker, *, as_json: bool) -> int:
    _refuse(source, target)
    mover, moved = Mover(source, target), 0
    with progress(source.size().ready, "tasks", silent=as_json) as bar:
        for count in mover.run():
            moved += count
            bar.show(moved)
    left, paused = source.size(), _paused(source)
    if as_json:
        kept = {"leased": left.leased, "delayed": left.delayed, "dead_letters": left.dead_letters}
        say_json({"name": name, "moved": moved, "refused": mover.refused, "left": kept | {"paused": paused}})
    else:
        say(f"{counted(moved, 'task')} moved from {source.info()} to {target.info()}")
        _say_left(left)
        if mover.refused:
            say(f"{counted(mover.refused, 'task')} refused by the target: {mover.refusal}", error=True)
        for queue, count in paused.items():
            say(
                f"{counted(count, 'task')} left in the paused queue {queue!r}, from which nothing is leased; "
                f"resume it there ({typed('queue resume')} {queue}), then move again",
                error=True,
            )
    return Exit.FAILED if mover.refused or paused else Exit.OK


def _paused(source: Broker) -> dict[str, int]:
    """Return the paused queues that have ready messages, and how many."""
    return {named(one.name): one.size.ready for one in source.queues() if one.paused and one.size.ready}


def _say_left(left: QueueSize) -> None:
    states = (("leased", left.leased), ("delayed", left.delayed))
    there = [f"{count:,} {state}" for state, count in states if count]
    there += [counted(left.dead_letters, "dead letter")] if left.dead_letters else []
    if there:
        say(f"left behind: {', '.join(there)}; delayed and leased messages can be moved once they are ready")
    unknown = [state for state, count in (*states, ("dead", left.dead_letters)) if count is None]
    if unknown:
        say(f"left behind: what is {' or '.join(unknown)}, if anything is: the broker cannot count it")


def _refuse(source: Broker, target: Broker) -> None:
    for broker in (source, target):
        if not broker.capabilities.cross_process:
            msg = f"{broker.info()} lives in one process only: there is nothing to move from or to"
            raise QcoreError(msg)
    if not source.capabilities.redelivers:
        msg = f"{source.info()} has no receipts: what is taken from it would be lost if the move died"
        raise QcoreError(msg)
    same = source.queue_id()
    if same is not None and same == target.queue_id():
        msg = f"both are the same queue: {source.info()}"
        raise QcoreError(msg)


def _config(session: Session, given: str, name: str | None) -> tuple[Config, bool]:
    """Return the configuration of a broker, from its URL or its file, and whether its key is the queue's."""
    try:
        scheme = urlsplit(given).scheme
    except ValueError as exc:
        # it may hold a password: only its beginning is shown
        msg = f"{given.partition(':')[0]}:... is not a URL: {exc}"
        raise click.UsageError(msg) from None
    if len(scheme) < 2 or Path(given).exists():
        named: dict[str, Any] = {"name": name} if name else {}
        return Config.load(given, plugins=session.plugins, **named), True
    keys = session.plugins.find("qcore_urls", scheme)(given)
    # Nothing is sealed or opened: the key is never used.
    settings = {"name": name or session.config.name, "secret_key": keyfile.new(), **keys}
    return Config.from_dict(settings, session.plugins), False
