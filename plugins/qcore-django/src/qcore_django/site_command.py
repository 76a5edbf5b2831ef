"""What the commands of manage.py share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from django.core.management.base import BaseCommand, CommandError

from qcore.cli.exit_codes import Exit, exit_of
from qcore.cli.failures import explain
from qcore.cli.group import command
from qcore.cli.session import Session
from qcore.errors import ModuleFailed, QcoreError
from qcore_django import shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qcore import App, Config


class SiteSession(Session):
    """A run of the command line whose App is that of the site."""

    @property
    def config(self) -> Config:
        """The configuration that the settings make."""
        return shared.app.config

    @property
    def app(self) -> App:
        """The App of the site."""
        return shared.app

    def close(self) -> None:
        """Leave the connections to the site, whose App goes on."""


class SiteCommand(BaseCommand):
    """A command whose errors are messages, and whose exit codes are those of qcore."""

    #: what hinders another part of the site does not hinder a look at the queue
    requires_system_checks: Sequence[str] = ()

    def run_verb(self, arguments: Sequence[str]) -> None:
        """Run a command of qcore's for the queue of this site.

        Raises:
            SystemExit: with the exit code, if that is not 0.

        """
        try:
            done = command.main(
                list(arguments), prog_name="manage.py qcore", standalone_mode=False, obj=SiteSession()
            )
        except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - explained as the command line does
            done = explain(exc)
        if code := done if isinstance(done, int) else Exit.OK:
            raise SystemExit(int(code))


@contextmanager
def explained() -> Iterator[None]:
    """Make an error of qcore's the error of a command, which ends with qcore's exit code."""
    try:
        yield
    except ModuleFailed as exc:
        raise CommandError(f"{exc.trace}\n{exc}", returncode=Exit.FAILED) from exc
    except QcoreError as exc:
        raise CommandError(str(exc), returncode=exit_of(exc)) from exc
    except click.ClickException as exc:
        raise CommandError(exc.format_message(), returncode=exc.exit_code) from exc


def chosen(**options: Any) -> list[str]:
    """Return the flags of these options that are set."""
    return [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
