"""Decides what `qcore sql` does: it creates and migrates the tables."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Protocol

import click

from qcore_sql.address import find
from qcore_sql.database import Database
from qcore_sql.migrations import upgrades
from qcore_sql.schema import VERSION, statements

if TYPE_CHECKING:
    from qcore.interfaces import Settings


class Configured(Protocol):
    """What is used of the configuration."""

    def settings(self) -> Settings:
        """Return what brokers and stores get."""


class Session(Protocol):
    """What is used of the object that commands get."""

    @property
    def config(self) -> Configured:
        """The configuration."""


@click.group("sql")
def command() -> None:
    """Create or migrate the tables of a queue in a database."""


@command.command("init")
@click.option("--print", "only_print", is_flag=True, help="Print the SQL and connect to nothing.")
@click.option(
    "--from", "old", type=click.IntRange(1, VERSION), help="With --print: the version of the tables."
)
@click.pass_obj
def init(session: Session, *, only_print: bool, old: int | None) -> None:
    """Create the tables in the database that the key `sql` names, or migrate those of an older version.

    Nothing is done where they have this version. The user needs the right to create tables, and to
    migrate them to be their owner; the SQL that `--print` shows can be run by anybody who has it.
    """
    settings = session.config.settings()
    if only_print:
        address = find(settings)
        made = (
            statements(address.dialect, secrets.token_hex(16))
            if old is None
            else upgrades(address.dialect, old, VERSION)
        )
        click.echo("".join(f"{one};\n" for one in made), nl=False)
        return
    database = Database(settings)
    try:
        database.create_tables()
    finally:
        database.close()
    click.echo(f"the tables in {database.address.title} have version {VERSION}")
