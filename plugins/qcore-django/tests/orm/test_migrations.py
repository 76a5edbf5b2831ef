"""The migrations of the app make old tables new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.db import connections

from qcore_django.orm.creation import MigrateTables
from qcore_sql.schema import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable


def migrate(alias: str, version: int) -> None:
    """Do what a migration does."""
    with connections[alias].schema_editor() as editor:
        operation = MigrateTables(version)
        operation.database_forwards("qcore_django", editor, Any, Any)  # type: ignore[arg-type]  # unused
    connections[alias].close()


def test_a_migration_that_was_done_is_not_done_again(alias: str, look: Callable[..., list[Any]]) -> None:
    """New tables have the newest version at once; `test_tables` tries how old ones get it."""
    for _ in range(2):
        migrate(alias, VERSION)
        assert look("SELECT version FROM qcore_schema") == [(VERSION,)]


def test_there_is_a_migration_for_each_version(capsys: Any) -> None:
    """`manage.py migrate` leads to the version that this qcore-sql needs."""
    call_command("sqlmigrate", "qcore_django", f"{VERSION:04}")

    assert f"SET version = {VERSION} WHERE version = {VERSION - 1}" in capsys.readouterr().out
