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
from qcore.cli.text import say, say_json
from qcore.config import Config
from qcore.errors import QcoreError
from qcore.settings import keyfile
from qcore.wording import counted

if TYPE_CHECKING:
    from qcore.cli.session import Session
    from qcore.interfaces import Broker
    from qcore.model import QueueSize

#: Seconds messages of the source are ours: longer than any batch takes to arrive.
_LEASE = 300.0


@click.command("move")
@click.option("--from", "source", metavar="URL|FILE", required=True, help="Broker to take from.")
@click.option("--to", "target", metavar="URL|FILE", required=True, help="Broker to put on.")
@click.option("--name", metavar="QUEUE", help="Queue, if not the configured one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(session: Session, source: str, target: str, name: str | None, as_json: bool) -> int:
    """Drain a queue into the one of the same name on another broker.

    Messages are not opened: they stay signed as they are. Each arrives at least once; an
    interrupted move loses nothing and can be started again. Messages that are delayed, leased or
    dead letters stay where they are, and are counted at the end.

    A broker is given by its URL (sqlite:queue.db, redis://host:6379/0, ...) or by the TOML file
    that configures it. Exit code 1 if the target would not take everything.
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
        brokers.append(App(to, plugins=session.plugins).runtime.make_broker())
        return _move(from_.name, brokers[0], brokers[1], as_json=as_json)
    finally:
        for broker in brokers:
            broker.close()


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
    left = source.size()
    if as_json:
        kept = {"leased": left.leased, "delayed": left.delayed, "dead_letters": left.dead_letters}
        say_json({"queue": name, "moved": moved, "refused": mover.refused, "left": kept})
    else:
        say(f"{counted(moved, 'task')} moved from {source.info()} to {target.info()}")
        _say_left(left)
        if mover.refused:
            say(f"{counted(mover.refused, 'task')} refused by the target: {mover.refusal}", error=True)
    return Exit.FAILED if mover.refused else Exit.OK


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
    keys = session.plugins.url(scheme)(given)
    # Nothing is sealed or opened: the key is never used.
    settings = {"name": name or session.config.name, "secret_key": keyfile.new(), **keys}
    return Config.from_dict(settings, session.plugins), False
