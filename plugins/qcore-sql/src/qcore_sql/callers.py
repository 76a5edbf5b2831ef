"""Decides which connections of a program's own a message is enqueued on."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection as SqlalchemyConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.orm import scoped_session

from qcore.errors import BackendRejected
from qcore_loop.lending import ask, can_ask, is_asynchronous
from qcore_sql.backend import refused
from qcore_sql.expressions import MARIADB
from qcore_sql.lent import LentConnection
from qcore_sql.schema import READ_VERSION
from qcore_sql.session import CoreSession, Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore_sql.address import Address
    from qcore_sql.compiled import Texts


@contextmanager
def session_on(connection: Any, address: Address, texts: Texts, name: str) -> Iterator[Session]:  # noqa: ANN401 - of any library
    """Lend what executes statements as part of the transaction of a caller's connection.

    Args:
        connection: what the caller gave.
        address: of the queue's database.
        texts: of statements in its dialect.
        name: the random text that names it.

    Raises:
        BackendRejected: it is closed, has no transaction, or leads to another database.

    """
    backend, title = address.backend, address.title
    session = _session(connection, address, texts)
    try:
        found = session.one(READ_VERSION)
        if found is None or found[1] != name:
            raise _another(title)
        yield session
    except SQLAlchemyError as exc:
        original = getattr(exc, "orig", None)
        if not isinstance(original, backend.error):
            raise refused(f"SQLAlchemy refuses: {_line(exc)}") from exc
        raise (_another(title) if backend.lacks_table(original) else original) from exc
    except backend.error as exc:
        if backend.lacks_table(exc):
            raise _another(title) from exc
        raise


def _session(connection: Any, address: Address, texts: Texts) -> Session:  # noqa: ANN401 - of any library
    if is_asynchronous(connection):
        return _for_coroutine(connection, address, texts)
    if isinstance(connection, scoped_session):
        connection = connection()
    if isinstance(connection, OrmSession):
        connection = _of_orm_session(connection)
    if isinstance(connection, SqlalchemyConnection):
        _check(connection, texts, address.title)
        return CoreSession(connection, texts)
    return _of_driver(connection, address, texts)


def _for_coroutine(connection: Any, address: Address, texts: Texts) -> Session:  # noqa: ANN401 - of any library
    """Return what executes statements by a connection for coroutines, from a thread."""
    if not can_ask():
        raise refused(
            f"{_kind(connection)} is asynchronous, so enqueue by `await task.using(connection=...)"
            ".aenqueue(...)` or `await app.aenqueue_many(...)`, in the coroutine that has it"
        )
    # who has such a connection has imported it, and others need not have what it needs
    library = sys.modules.get("sqlalchemy.ext.asyncio")
    if library is None:
        return _of_driver(connection, address, texts)
    if isinstance(connection, library.async_scoped_session):
        raise refused("an async_scoped_session leads to another session in each task; pass `scoped()`")
    if isinstance(connection, library.AsyncSession):
        _check_begun(connection)
        try:
            connection = ask(connection.connection)
        except SQLAlchemyError as exc:
            raise refused(f"the session is of no use: {_line(exc)}") from exc
    if not isinstance(connection, library.AsyncConnection):
        return _of_driver(connection, address, texts)
    if connection.sync_connection is None:
        raise refused("it is not open; enqueue in a block `async with engine.begin() as connection:`")
    _check(connection.sync_connection, texts, address.title)
    return CoreSession(LentConnection(connection), texts)


def _of_driver(connection: Any, address: Address, texts: Texts) -> Session:  # noqa: ANN401 - of any library
    found = address.backend.caller_session(connection, texts)
    if found is None:
        raise BackendRejected(
            f"connection= of the broker sql takes a Connection or Session of SQLAlchemy, or"
            f" {address.backend.takes}, got {_kind(connection)}"
        )
    return found


def _kind(connection: object) -> str:
    return f"{type(connection).__module__}.{type(connection).__qualname__}"


def _check_begun(session: Any) -> None:  # noqa: ANN401 - a session for threads or for coroutines
    if not session.in_transaction():
        raise refused(
            "the session has no transaction: it was closed, committed or rolled back, or has not been"
            " used yet; enqueue before the commit, in a block `with session.begin():` for one"
        )


def _of_orm_session(session: OrmSession) -> SqlalchemyConnection:
    _check_begun(session)
    try:
        return session.connection()
    except SQLAlchemyError as exc:
        raise refused(f"the session is of no use: {_line(exc)}") from exc


def _check(connection: SqlalchemyConnection, texts: Texts, title: str) -> None:
    if connection.closed:
        raise refused("it is closed; enqueue before that")
    names = {connection.dialect.name, texts.dialect.name}
    if len(names) > 1 and names != set(MARIADB):
        raise _another(title)
    if _is_autocommit(connection):
        raise refused(
            "its isolation level is AUTOCOMMIT, so it has no transaction to join; use another one, or leave"
            " connection= out"
        )


def _is_autocommit(connection: SqlalchemyConnection) -> bool:
    level = connection.get_execution_options().get("isolation_level")
    if level is None:
        # set by `create_engine`
        level = getattr(connection.dialect, "_on_connect_isolation_level", None)
    return level == "AUTOCOMMIT"


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _another(title: str) -> BackendRejected:
    return refused(
        f"it leads to another database than `sql`, which names {title}; if it is the same one, see whether"
        " its schema (search_path) is"
    )
