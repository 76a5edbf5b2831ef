"""Checks the tables, creates missing ones and migrates old ones."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import TYPE_CHECKING

from qcore.errors import BackendRejected, QueueMissing
from qcore_sql import schema
from qcore_sql.migrations import upgrades

if TYPE_CHECKING:
    from qcore_sql.address import Address
    from qcore_sql.backend import Connection, Raw
    from qcore_sql.compiled import Texts


def check(connection: Connection, address: Address, texts: Texts, *, create: bool) -> str:
    """Return the random text that names the database.

    Args:
        connection: to the database, without an open transaction.
        address: of the database.
        texts: of statements.
        create: whether missing tables are created, and old ones migrated.

    Raises:
        BackendRejected: the server or the tables are of a version that is not supported.
        QueueMissing: there are no tables, and none may be created.

    """
    address.backend.check_version(connection, address.title)
    found = _read_version(connection, address, texts)
    if create and (found is None or found[0] < schema.VERSION):
        _make(connection, address, texts)
        found = _read_version(connection, address, texts)
    return name_of(found, address)


def name_of(found: tuple[int, str] | None, address: Address) -> str:
    """Return the random text that names the database.

    Args:
        found: the version of the tables and the text, as `read` returns them.
        address: of the database.

    Raises:
        BackendRejected: the tables are of a version that is not supported.
        QueueMissing: there are no tables.

    """
    backend = address.backend
    where = f"{backend.name} at {address.title}"
    if found is None:
        raise QueueMissing(f"{where} has no tables of qcore; run {backend.init}{backend.or_else}")
    version, name = found
    if version != schema.VERSION:
        newer = version > schema.VERSION
        raise BackendRejected(
            f"the tables in {where} have version {version}, this qcore-sql needs"
            f" {schema.VERSION}; {'upgrade qcore-sql' if newer else f'run {backend.init}'}"
        )
    return name


def _read_version(connection: Connection, address: Address, texts: Texts) -> tuple[int, str] | None:
    """Return the version of the tables and the name of the database, None if there are none."""
    with closing(connection.cursor()) as cursor:
        return read(cursor, address, texts)


def read(cursor: Raw, address: Address, texts: Texts) -> tuple[int, str] | None:
    """Return the version of the tables and the name of the database, None if there are none."""
    if not address.backend.has_tables(cursor):
        return None
    cursor.execute(texts.of(schema.READ_VERSION).text)
    found: tuple[int, str] | None = cursor.fetchone()
    return found


def _make(connection: Connection, address: Address, texts: Texts) -> None:
    """Create the tables, or migrate those of an older version, unless another process did.

    Raises:
        BackendRejected: the user may not; the message shows the SQL to run.
    """
    backend = address.backend
    statements: list[str] = []
    found: tuple[int, str] | None = None
    try:
        with backend.creating(connection) as cursor:
            found = read(cursor, address, texts)
            statements = _statements(found, address)
            for statement in statements:
                cursor.execute(statement)
    except backend.error as exc:
        if backend.has_been_created(exc):
            # another process did while this one waited for the lock; a server may not see that at once
            return
        if not backend.lacks_right(exc):
            raise
        what = "create tables" if found is None else f"migrate the tables of version {found[0]}"
        raise BackendRejected(
            f"the user may not {what} in {backend.name} at {address.title}; let their owner run this SQL,"
            " and grant select, insert, update and delete on the tables to the user:\n\n"
            + "".join(f"{statement};\n" for statement in statements)
        ) from exc


def _statements(found: tuple[int, str] | None, address: Address) -> list[str]:
    if found is None:
        return schema.statements(address.dialect, secrets.token_hex(16))
    return upgrades(address.dialect, found[0], schema.VERSION)
