"""Decides which SQL a migration executes: that of qcore-sql."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from django.db import router
from django.db.migrations.operations.base import Operation

from qcore_django.orm.address import dialect_of
from qcore_django.orm.backends import KINDS
from qcore_sql.expressions import MARIADB
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
        if not self._is_for(connection, app_label):
            return
        if not schema_editor.collect_sql and SCHEMA.name in connection.introspection.table_names():
            return
        dialect: Any = dialect_of(connection.vendor)
        if dialect.name in MARIADB:
            # the collations differ
            dialect.is_mariadb = connection.mysql_is_mariadb
        for statement in statements(dialect, secrets.token_hex(16)):
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
        if not self._is_for(schema_editor.connection, app_label):
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
    def _is_for(connection: Any, app_label: str) -> bool:  # noqa: ANN401 - a connection of Django's
        return connection.vendor in KINDS and router.allow_migrate(connection.alias, app_label)
