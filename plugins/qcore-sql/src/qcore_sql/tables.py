"""Decides whether the tables are ours, and creates those that are missing."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import psycopg

from qcore.errors import BackendRejected, QueueMissing
from qcore_sql import error_mapping, postgresql, schema

if TYPE_CHECKING:
    from qcore_sql.address import Address
    from qcore_sql.compiled import Texts
    from qcore_sql.postgresql import Connection

#: number of the lock under which tables are created, `qcore` in ASCII
_LOCK: Final = 0x71636F7265


def check(connection: Connection, address: Address, texts: Texts, *, create: bool) -> str:
    """Return the random text that names the database.

    Args:
        connection: to the database, without an open transaction.
        address: of the database.
        texts: of statements.
        create: whether missing tables are created.

    Raises:
        BackendRejected: the server or the tables are of a version that is not supported.
        QueueMissing: there are no tables, and none may be created.

    """
    title = address.title
    if connection.info.server_version < postgresql.OLDEST:
        raise BackendRejected(f"postgresql at {title} is older than 14; upgrade it")
    found = _read_version(connection, texts)
    if found is None:
        if not create:
            raise QueueMissing(
                f"postgresql at {title} has no tables of qcore; run qcore sql init,"
                " or allow their creation with `sql.create_tables`"
            )
        _create(connection, address, texts)
        found = _read_version(connection, texts)
    if found is None or found[0] != schema.VERSION:
        version = None if found is None else found[0]
        newer = version is not None and version > schema.VERSION
        raise BackendRejected(
            f"the tables in postgresql at {title} have version {version}, this qcore-sql needs"
            f" {schema.VERSION}; {'upgrade qcore-sql' if newer else 'run qcore sql init'}"
        )
    return found[1]


def _read_version(connection: Connection, texts: Texts) -> tuple[int, str] | None:
    """Return the version of the tables and the name of the database, None if there are none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('qcore_schema') IS NOT NULL")
        if cursor.fetchall() != [(True,)]:
            return None
        cursor.execute(texts.of(schema.READ_VERSION).text)
        return cursor.fetchone()


def _create(connection: Connection, address: Address, texts: Texts) -> None:
    """Create the tables unless another process did.

    Raises:
        BackendRejected: the user may not; the message shows the SQL to run.
    """
    statements = schema.statements(address.dialect, secrets.token_hex(16))
    try:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            if _read_version(connection, texts) is None:
                for statement in statements:
                    cursor.execute(statement)
    except psycopg.errors.DuplicateTable:
        # another process did while this one waited for the lock; a server may not see that at once
        return
    except psycopg.Error as exc:
        if exc.sqlstate != error_mapping.NO_RIGHT:
            raise
        raise BackendRejected(
            f"the user may not create tables in postgresql at {address.title}; let their owner run this SQL,"
            " and grant select, insert, update and delete on the tables to the user:\n\n"
            + "".join(f"{statement};\n" for statement in statements)
        ) from exc
