"""Decides which connections of a program's own a message is enqueued on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy.engine import Connection as SqlalchemyConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.orm import scoped_session

from qcore.errors import BackendRejected
from qcore_sql.compiled import CoreSession, Session
from qcore_sql.schema import READ_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore_sql.compiled import Texts

_TAKES: Final = "a Connection or Session of SQLAlchemy, or a Connection of psycopg"


@contextmanager
def session_on(connection: Any, texts: Texts, name: str, title: str) -> Iterator[Session]:  # noqa: ANN401 - of any library
    """Lend what executes statements as part of the transaction of a caller's connection.

    Args:
        connection: what the caller gave.
        texts: of statements in the dialect of the queue's database.
        name: the random text that names the database in which the queue is.
        title: of that database, for messages.

    Raises:
        BackendRejected: it is closed, has no transaction, or leads to another database.

    """
    if isinstance(connection, scoped_session):
        connection = connection()
    if isinstance(connection, OrmSession):
        connection = _of_orm_session(connection)
    if isinstance(connection, SqlalchemyConnection):
        session: Session = _of_sqlalchemy(connection, texts, title)
    elif isinstance(connection, psycopg.Connection):
        session = _of_psycopg(connection, texts)
    else:
        kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
        raise BackendRejected(
            f"connection= of the broker sql takes {_TAKES}, got {kind}"
            "; of an asynchronous one pass what its `run_sync` gives you"
        )
    try:
        found = session.one(READ_VERSION)
        if found is None or found[1] != name:
            raise _another(title)
        yield session
    except SQLAlchemyError as exc:
        original = getattr(exc, "orig", None)
        if isinstance(original, psycopg.errors.UndefinedTable):
            raise _another(title) from exc
        if isinstance(original, psycopg.Error):
            raise original from exc
        raise BackendRejected(f"connection=: SQLAlchemy refuses: {str(exc).splitlines()[0]}") from exc
    except psycopg.errors.UndefinedTable as exc:
        raise _another(title) from exc


def _of_orm_session(session: OrmSession) -> SqlalchemyConnection:
    if not session.in_transaction():
        raise _refused(
            "the session has no transaction: it was closed, committed or rolled back, or has not been"
            " used yet; enqueue before the commit, in a block `with session.begin():` for one"
        )
    try:
        return session.connection()
    except SQLAlchemyError as exc:
        raise _refused(f"the session is of no use: {str(exc).splitlines()[0]}") from exc


def _of_sqlalchemy(connection: SqlalchemyConnection, texts: Texts, title: str) -> Session:
    if connection.closed:
        raise _refused("it is closed; enqueue before that")
    if connection.dialect.name != texts.dialect.name:
        raise _another(title)
    if _is_autocommit(connection):
        raise _refused(
            "its isolation level is AUTOCOMMIT, so it has no transaction to join; use another one, or leave"
            " connection= out"
        )
    return CoreSession(connection, texts)


def _is_autocommit(connection: SqlalchemyConnection) -> bool:
    level = connection.get_execution_options().get("isolation_level")
    if level is None:
        # set by `create_engine`
        level = getattr(connection.dialect, "_on_connect_isolation_level", None)
    return level == "AUTOCOMMIT"


def _of_psycopg(connection: psycopg.Connection[Any], texts: Texts) -> Session:
    status = connection.info.transaction_status
    if connection.closed:
        raise _refused("it is closed; enqueue before that")
    if status == TransactionStatus.INERROR:
        raise _refused("its transaction has failed; roll it back first")
    if connection.autocommit and status == TransactionStatus.IDLE:
        raise _refused(
            "it is in autocommit mode and has no transaction; enqueue in a block"
            " `with connection.transaction():`, or leave connection= out"
        )
    # rows and parameters are ours, whatever the connection was told about its own
    cursor = psycopg.Cursor(connection, row_factory=tuple_row)
    return Session(cursor, texts)  # type: ignore[arg-type]  # it takes text, not only literals


def _refused(why: str) -> BackendRejected:
    return BackendRejected(f"nothing was enqueued by connection=: {why}")


def _another(title: str) -> BackendRejected:
    return _refused(
        f"it leads to another database than `sql`, which names {title}; if it is the same one, see whether"
        " its schema (search_path) is"
    )
