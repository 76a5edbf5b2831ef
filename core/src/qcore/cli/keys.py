"""How a new secret key is made and written."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from qcore.cli.exit_codes import Exit
from qcore.cli.text import say


@click.group("keys")
def command() -> None:
    """Make secret keys."""


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
