"""How a new secret key is made and written."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.key_usage import key_ids, usage
from qcore.cli.key_usage import reseal as reseal_all
from qcore.cli.text import json_option, say, say_json

if TYPE_CHECKING:
    from qcore.cli.key_usage import KeyUsage
    from qcore.cli.session import Session


@click.group("keys")
def command() -> None:
    """Make, check and rotate secret keys."""


@command.command("new")
@click.option("--write", "file", metavar="FILE", type=click.Path(path_type=Path), help="Into a new file.")
def new(file: Path | None) -> int:
    """Print a fresh key for `secret_key`: 43 characters, 256 random bits.

    With --write it goes to a file that only you can read, and the configuration names the
    file: secret_key = "file:FILE".
    """
    key = secrets.token_urlsafe(32)
    if file is None:
        say(key)
        return Exit.OK
    try:
        # 0600 from its first instant, and never through somebody's link or over somebody's key
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError as exc:
        msg = f"{click.format_filename(file)} exists already and was not changed; name another file"
        raise click.ClickException(msg) from exc
    except OSError as exc:
        msg = f"{click.format_filename(file)} cannot be created: {exc.strerror}"
        raise click.ClickException(msg) from exc
    with os.fdopen(handle, "w", encoding="ascii") as written:
        written.write(f"{key}\n")
        written.flush()
        os.fsync(handle)
    say(f'secret_key = "file:{click.format_filename(file.absolute())}"')
    return Exit.OK


@command.command("check")
@json_option
@click.pass_obj
def check(session: Session, as_json: bool) -> int:
    """Say what is still sealed with each key, and whether the old ones may go.

    Exit code 0 if nothing that is stored needs a key behind the first, 1 if something does or if
    something needs a key that is not in secret_key. No signature is verified.
    """
    ids, found = key_ids(session.runtime), usage(session.runtime)
    unknown = sorted(found.ids - set(ids))
    needed = [key_id for key_id in [*ids[1:], *unknown] if found.of(key_id)]
    unknowns = [what for what, counts in found.counts.items() if counts is None]
    if as_json:
        say_json(
            {
                "keys": [{"id": one.hex(), "sealed": found.of(one)} for one in ids],
                "unknown": [{"id": one.hex(), "sealed": found.of(one)} for one in unknown],
                "not_counted": unknowns,
                "unseen_results": found.unseen_results,
            }
        )
        return Exit.FAILED if needed else Exit.OK
    for number, key_id in enumerate(ids, 1):
        role = "signs" if number == 1 else "must stay" if key_id in needed else "may go"
        say(f"key {number} of {len(ids)} ({key_id.hex()}), {role}: {_listed(found, key_id)}")
    for key_id in unknown:
        say(f"a key that is not in secret_key ({key_id.hex()}): {_listed(found, key_id)}")
    if unknowns:
        say("the broker cannot say with which key waiting messages are signed: wait until they are run")
    if found.unseen_results:
        say(f"{found.unseen_results} older results were not looked at")
    return Exit.FAILED if needed else Exit.OK


@command.command("reseal")
@json_option
@click.pass_obj
def reseal(session: Session, as_json: bool) -> int:
    """Seal schedules, results, dead letters and the pause of the queue with the first key.

    Messages that wait are not changed: they need the old key until they are run. Exit code 1 if
    something could not be sealed anew, because no key opens it or the broker cannot replace it.
    """
    found = reseal_all(session.runtime)
    done = {what: count for what, count in found.done.items() if count}
    failed = {what: count for what, count in found.failed.items() if count}
    if as_json:
        say_json({"resealed": done, "failed": failed})
    else:
        say(f"sealed with the first key: {_counts(done)}")
        if failed:
            say(f"not sealed anew, because no key opens them or the broker cannot: {_counts(failed)}")
    return Exit.FAILED if failed else Exit.OK


def _listed(found: KeyUsage, key_id: bytes) -> str:
    return _counts(found.of(key_id))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {count}" for what, count in counts.items()) or "nothing"
