"""Lends Django's own connection, in a transaction, as one of SQLAlchemy."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from django.db.transaction import atomic
from sqlalchemy import Engine, NullPool, event
from sqlalchemy.dialects.mysql.mysqldb import MySQLDialect_mysqldb
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGExecutionContext_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import make_url

from qcore_sql.task_transaction import refuse_end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper
    from sqlalchemy import Connection, Dialect


class _Cursors(PGExecutionContext_psycopg):
    """Has JSON read as everywhere but in Django, which reads it itself."""

    def create_default_cursor(self) -> Any:  # noqa: ANN401 - a cursor
        """Return a cursor of the driver, not of Django."""
        from psycopg import Cursor  # noqa: PLC0415 - not every site has it
        from psycopg.types.json import JsonbLoader, JsonLoader  # noqa: PLC0415 - as above

        raw: Any = self._dbapi_connection.driver_connection
        cursor: Cursor[Any] = Cursor(raw)
        cursor.adapters.register_loader("json", JsonLoader)
        cursor.adapters.register_loader("jsonb", JsonbLoader)
        return cursor


class _Psycopg(PGDialect_psycopg):
    """PostgreSQL by psycopg."""

    execution_ctx_cls = _Cursors
    supports_statement_cache = True


@contextmanager
def lent(alias: str) -> Iterator[Connection]:
    """Lend Django's connection of this thread; the transaction is part of one that is open."""
    with atomic(using=alias):
        wrapper = connections[alias]
        dialect = _dialect(wrapper)
        pool = NullPool(lambda: wrapper.connection, dialect=dialect, reset_on_return=None)
        engine = Engine(pool, dialect, make_url(f"{dialect.name}://"))
        with engine.connect() as connection:
            dialect.initialize(connection)
            lent = [True]

            def refuse(_: Connection) -> None:
                if lent:
                    refuse_end()

            for name in ("commit", "rollback"):
                event.listen(engine, name, refuse)
            if not connection.in_transaction():
                connection.begin()
            try:
                yield connection
            finally:
                lent.clear()


def _dialect(wrapper: BaseDatabaseWrapper) -> Dialect:
    """Return a dialect for the driver of the site; it leaves the connection and its transaction to Django."""
    kind = _DIALECTS[wrapper.vendor]
    if wrapper.vendor == "mysql" and wrapper.Database.__name__ == "MySQLdb":
        kind = MySQLDialect_mysqldb
    more = {"use_native_hstore": False} if wrapper.vendor == "postgresql" else {}
    dialect: Any = kind(dbapi=kind.import_dbapi(), **more)
    for name in ("do_commit", "do_rollback", "do_close", "do_terminate"):
        setattr(dialect, name, _leave)
    found: Dialect = dialect
    return found


def _leave(_: object) -> None:
    """Leave the connection as it is."""


_DIALECTS: Final[dict[str, Any]] = {
    "postgresql": _Psycopg,
    "mysql": MySQLDialect_pymysql,
    "sqlite": SQLiteDialect_pysqlite,
}
