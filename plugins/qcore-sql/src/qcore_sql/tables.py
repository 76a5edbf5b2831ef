"""Decides whether the tables are ours, and creates those that are missing."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import TYPE_CHECKING

from qcore.errors import BackendRejected, QueueMissing
from qcore_sql import schema

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
        create: whether missing tables are created.

    Raises:
        BackendRejected: the server or the tables are of a version that is not supported.
        QueueMissing: there are no tables, and none may be created.

    """
    address.backend.check_version(connection, address.title)
    found = _read_version(connection, address, texts)
    if found is None and create:
        _create(connection, address, texts)
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


def _create(connection: Connection, address: Address, texts: Texts) -> None:
    """Create the tables unless another process did.

    Raises:
        BackendRejected: the user may not; the message shows the SQL to run.
    """
    backend = address.backend
    statements = schema.statements(address.dialect, secrets.token_hex(16))
    try:
        with backend.creating(connection) as cursor:
            if read(cursor, address, texts) is None:
                for statement in statements:
                    cursor.execute(statement)
    except backend.error as exc:
        if backend.has_been_created(exc):
            # another process did while this one waited for the lock; a server may not see that at once
            return
        if not backend.lacks_right(exc):
            raise
        raise BackendRejected(
            f"the user may not create tables in {backend.name} at {address.title}; let their owner run this"
            " SQL, and grant select, insert, update and delete on the tables to the user:\n\n"
            + "".join(f"{statement};\n" for statement in statements)
        ) from exc
