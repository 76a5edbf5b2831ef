"""Decides how an SQLite file is opened, and what its errors mean."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, ClassVar, Final

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge
from qcore_sql.backend import Backend, Raw, refused
from qcore_sql.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.errors import BackendError
    from qcore_sql.address import Address
    from qcore_sql.compiled import Cursor, Texts

#: versions of the library from here on are supported
_OLDEST: Final = (3, 35)
_LOCKED: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
#: code -> text of an error that may pass
_TRANSIENT: Final = {
    sqlite3.SQLITE_BUSY: "another process has it locked",
    sqlite3.SQLITE_LOCKED: "another connection has it locked",
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_IOERR: "it cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_READONLY: "it cannot be written",
    sqlite3.SQLITE_NOMEM: "the process is out of memory",
}


class Sqlite(Backend):
    """SQLite by the standard library."""

    name = "sqlite"
    takes = "a Connection of sqlite3"
    error: ClassVar[type[Exception]] = sqlite3.Error
    # a transaction that reads first could not write if another has written meanwhile
    begin = "BEGIN IMMEDIATE"

    def connect(self, address: Address) -> Raw:
        """Open the file; each statement is a transaction of its own unless one is begun."""
        keywords = {"timeout": address.settings.timeout, **address.keywords}
        connection = sqlite3.connect(isolation_level=None, check_same_thread=False, **keywords)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def is_open(self, connection: Raw) -> bool:
        """Return whether a connection can be used again."""
        return _is_open(connection)

    def in_transaction(self, connection: Raw) -> bool:
        """Return whether a connection is open and has a transaction."""
        return bool(_is_open(connection) and connection.in_transaction)

    def check_version(self, connection: Raw, title: str) -> None:
        """Refuse a library that is too old."""
        del connection
        if sqlite3.sqlite_version_info < _OLDEST:
            raise BackendRejected(f"the library of SQLite that opens {title} is older than 3.35; upgrade it")

    def has_tables(self, cursor: Cursor) -> bool:
        """Return whether there are tables of qcore."""
        cursor.execute("SELECT name FROM sqlite_master WHERE name = 'qcore_schema'")
        return bool(cursor.fetchall())

    @contextmanager
    def creating(self, connection: Raw) -> Iterator[Cursor]:
        """Begin a transaction in which one process at a time creates tables."""
        with closing(connection.cursor()) as cursor:
            cursor.execute(self.begin)
            yield cursor
            cursor.execute("COMMIT")

    def info(self, cursor: Cursor) -> str:
        """Return what it is, and its version."""
        cursor.execute("SELECT sqlite_version()")
        return f"SQLite {cursor.fetchall()[0][0]}"

    def check(self, cursor: Cursor, title: str) -> str:
        """Return what the doctor says about it."""
        del cursor, title
        return "idle workers look for messages each `poll` seconds; one process writes at a time"

    def caller_session(self, connection: Raw, texts: Texts) -> Session | None:
        """Return what executes statements by a program's connection of sqlite3."""
        if not isinstance(connection, sqlite3.Connection):
            return None
        if not _is_open(connection):
            raise refused("it is closed; enqueue before that")
        # the attribute is new in Python 3.12
        autocommit = connection.isolation_level is None or getattr(connection, "autocommit", None) is True
        if autocommit and not connection.in_transaction:
            raise refused(
                "it is in autocommit mode and has no transaction; execute BEGIN first, or drop connection="
            )
        cursor = connection.cursor()
        cursor.row_factory = None
        return Session(cursor, texts)  # type: ignore[arg-type]  # its count of rows is only read

    # -- errors -----------------------------------------------------------------------------

    def is_lost(self, error: Exception) -> bool:
        """Return whether the connection cannot be used any more."""
        return isinstance(error, sqlite3.ProgrammingError)

    def is_repeatable(self, error: Exception) -> bool:
        """Return whether the same transaction may work at once; what is locked was waited for."""
        del error
        return False

    def lacks_table(self, error: Exception) -> bool:
        """Return whether a table or column does not exist."""
        return str(error).startswith(("no such table", "no such column"))

    def lacks_right(self, error: Exception) -> bool:
        """Return whether the user may not do this."""
        return _code(error) == sqlite3.SQLITE_READONLY

    def has_been_created(self, error: Exception) -> bool:
        """Return whether another process has just created a table."""
        return "already exists" in str(error)

    def read(self, error: Exception, address: str) -> BackendError:
        """Return the error to raise for an error of the driver."""
        code, text = _code(error), str(error)[:300]
        if code == sqlite3.SQLITE_TOOBIG or isinstance(error, (sqlite3.DataError, OverflowError)):
            return PayloadTooLarge(f"sqlite at {address} accepts no value of this size or kind: {text}")
        if self.lacks_table(error):
            return BackendRejected(f"sqlite at {address} lacks a table: {text}; run {self.init}")
        if code in _TRANSIENT:
            return BackendUnavailable(f"sqlite at {address}: {_TRANSIENT[code]} ({text})")
        return BackendRejected(f"sqlite at {address} refuses: {text}")


def _is_open(connection: Raw) -> bool:
    try:
        connection.total_changes  # noqa: B018 - it raises if the connection is closed
    except sqlite3.ProgrammingError:
        return False
    return True


def _code(error: Exception) -> int:
    """Return the primary code of an error."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
