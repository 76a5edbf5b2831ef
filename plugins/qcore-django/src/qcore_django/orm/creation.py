"""Decides which SQL a migration executes: that of qcore-sql."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from django.db import router
from django.db.migrations.operations.base import Operation

from qcore_django.orm.address import dialect_of
from qcore_django.orm.backends import KINDS
from qcore_sql.expressions import MARIADB
from qcore_sql.migrations import upgrades
from qcore_sql.schema import LOCK, METADATA, SCHEMA, statements

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState


class CreateTables(Operation):
    """Create the tables, unless they exist because the key `sql` names the same database."""

    reversible = True
    atomic = False

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Leave the models as they are: the tables have none."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Create the tables where a router does not forbid it."""
        del from_state, to_state
        connection = schema_editor.connection
        if not self.is_for(connection, app_label):
            return
        if not schema_editor.collect_sql and SCHEMA.name in connection.introspection.table_names():
            return
        for statement in statements(_dialect(connection), secrets.token_hex(16)):
            schema_editor.execute(statement, params=None)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Drop the tables with everything that is in them."""
        del from_state, to_state
        if not self.is_for(schema_editor.connection, app_label):
            return
        for table in [SCHEMA, *reversed(METADATA.sorted_tables), LOCK]:
            schema_editor.execute(f"DROP TABLE IF EXISTS {table.name}", params=None)

    def describe(self) -> str:
        """Return what the command `migrate` says."""
        return "Create the tables of the key orm"

    @property
    def migration_name_fragment(self) -> str:
        """What a generated name of a migration says."""
        return "tables"

    @staticmethod
    def is_for(connection: Any, app_label: str) -> bool:  # noqa: ANN401 - a connection of Django's
        """Return whether a database has the tables."""
        return connection.vendor in KINDS and router.allow_migrate(connection.alias, app_label)


class MigrateTables(CreateTables):
    """Migrate the tables from the version before to a version, unless they have it already."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = version

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return how the operation is made."""
        return type(self).__name__, [self.version], {}

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Migrate the tables where a router does not forbid it."""
        del from_state, to_state
        connection = schema_editor.connection
        if not self.is_for(connection, app_label):
            return
        if not schema_editor.collect_sql:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT version FROM {SCHEMA.name}")  # noqa: S608 - a constant of ours
                if cursor.fetchone()[0] >= self.version:
                    # the tables were created by the qcore-sql of today
                    return
        for statement in upgrades(_dialect(connection), self.version - 1, self.version):
            schema_editor.execute(statement, params=None)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Leave the tables as they are: migrations go forward only."""
        del app_label, schema_editor, from_state, to_state

    def describe(self) -> str:
        """Return what the command `migrate` says."""
        return f"Migrate the tables of the key orm to version {self.version}"

    @property
    def migration_name_fragment(self) -> str:
        """What a generated name of a migration says."""
        return f"tables_{self.version}"


def _dialect(connection: Any) -> Any:  # noqa: ANN401 - a connection of Django's, a dialect of SQLAlchemy
    dialect: Any = dialect_of(connection.vendor)
    if dialect.name in MARIADB:
        # the collations differ
        dialect.is_mariadb = connection.mysql_is_mariadb
    return dialect
