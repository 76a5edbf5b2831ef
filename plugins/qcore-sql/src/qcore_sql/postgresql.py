"""Decides how PostgreSQL is connected to, and what its errors mean."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Final

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge
from qcore_sql.backend import Backend, Raw, refused
from qcore_sql.lent import LentCursor
from qcore_sql.postgresql_wait import Connection, Listener
from qcore_sql.session import Session
from qcore_text.wording import if_nobody_listens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.errors import BackendError
    from qcore_sql.address import Address
    from qcore_sql.compiled import Cursor, Texts

#: versions of the server from here on are supported
_OLDEST: Final = 140000
#: number of the lock under which tables are created, `qcore` in ASCII
_LOCK: Final = 0x71636F7265
#: Plans are made for the tables as they are, because a plan that is kept from the time when a table was
#: empty reads the whole of it. Constraints of a database or a role that loosen isolation are overridden.
_OPTIONS: Final = (
    "-c plan_cache_mode=force_custom_plan -c default_transaction_isolation=read\\ committed"
    " -c idle_in_transaction_session_timeout=60000"
)
#: SQLSTATE of a transaction that may work if it is repeated at once: serialization failure, deadlock
_REPEATABLE: Final = frozenset({"40001", "40P01"})
#: SQLSTATE of a table or column that does not exist
_NO_TABLE: Final = frozenset({"42P01", "42703", "3F000"})
#: SQLSTATE of a missing right
_NO_RIGHT: Final = "42501"
#: SQLSTATE of a change in a transaction that may only read
_READ_ONLY: Final = "25006"
#: Part of a text -> SQLSTATE of a server that does not let connect; the driver tells the text only.
_UNCONNECTED: Final = {
    "too many clients already": "53300",
    "too many connections for": "53300",
    "connection slots are reserved": "53300",
    "no more connections allowed": "53300",
    "the database system is": "57P03",
    "password authentication failed": "28P01",
}
#: SQLSTATE -> text of an error that may pass
_TRANSIENT: Final = {
    _READ_ONLY: "it is read-only: a standby, or one that was demoted",
    "40001": "other transactions conflicted with this one; try again",
    "40P01": "other transactions conflicted with this one; try again",
    "53100": "its disk is full",
    "53200": "it is out of memory",
    "53300": "it has no connections left; raise `max_connections`, or use a pooler",
    "53400": "a limit of its configuration is reached",
    "55P03": "a row is locked by another transaction",
    "57014": "the statement took longer than `statement_timeout`",
    "57P01": "it is shutting down",
    "57P02": "it is restarting",
    "57P03": "it is starting or shutting down",
    "58030": "it cannot read or write its files",
}
#: the first characters of the SQLSTATE of an error that may pass: the connection, resources, shutdown
_TRANSIENT_CLASSES: Final = ("08", "53", "57")
#: SQLSTATE -> text of an error that repeating does not help
_PERMANENT: Final = {
    "28000": "it does not accept this user; see {setting} and the server's pg_hba.conf",
    "28P01": "it does not accept this user name and password; see {setting}",
    "3D000": "there is not a database of this name; create it, or see {setting}",
    _NO_RIGHT: "the user lacks a right; grant select, insert, update and delete on the tables",
}
#: SQLSTATE of a value that is too large
_TOO_LARGE: Final = frozenset({"54000", "54001", "22001"})


class PostgreSql(Backend):
    """PostgreSQL by psycopg."""

    name = "postgresql"
    takes = "a Connection or AsyncConnection of psycopg"
    error: ClassVar[type[Exception]] = psycopg.Error
    wakes = True
    one_statement = True

    def connect(self, address: Address) -> Connection:
        """Open a connection; each statement is a transaction of its own unless one is begun."""
        keywords = {"application_name": "qcore", **address.keywords}
        keywords["options"] = f"{_OPTIONS} {keywords.get('options', '')}".strip()
        connection: Connection = Connection.connect(autocommit=True, **keywords)
        connection.timeout = address.settings.timeout
        return connection

    def listen(self, address: Address, channel: str) -> Listener:
        """Open a connection that is notified of messages."""
        return Listener(self.connect(address), channel)

    def is_open(self, connection: Raw) -> bool:
        """Return whether a connection can be used again."""
        return not connection.closed

    def number_of_socket(self, connection: Raw) -> int:
        """Return the number of an open connection's socket."""
        number: int = connection.pgconn.socket
        return number

    def in_transaction(self, connection: Raw) -> bool:
        """Return whether a connection is open and has a transaction."""
        return bool(not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE)

    def check_version(self, connection: Raw, title: str) -> None:
        """Refuse a server that is too old."""
        if connection.info.server_version < _OLDEST:
            raise BackendRejected(f"postgresql at {title} is older than 14; upgrade it")

    def has_tables(self, cursor: Cursor) -> bool:
        """Return whether there are tables of qcore."""
        cursor.execute("SELECT to_regclass('qcore_schema') IS NOT NULL")
        return bool(cursor.fetchall()[0][0])

    @contextmanager
    def creating(self, connection: Raw) -> Iterator[Cursor]:
        """Begin a transaction in which one process at a time creates tables."""
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            yield cursor

    def info(self, cursor: Cursor) -> str:
        """Return what it is, and its version."""
        cursor.execute("SELECT current_setting('server_version')")
        return f"PostgreSQL {str(cursor.fetchall()[0][0]).split()[0]}"

    def check(self, cursor: Cursor, title: str) -> str:
        """Return what the doctor says about durability."""
        cursor.execute(
            "SELECT current_setting('fsync'), current_setting('synchronous_commit'), pg_is_in_recovery(),"
            " current_setting('transaction_read_only')"
        )
        ((fsync, synchronous, standby, read_only),) = cursor.fetchall()
        if standby:
            raise BackendRejected(f"postgresql at {title} is a standby and read-only; name the primary")
        if read_only == "on":
            raise BackendRejected(
                f"postgresql at {title} is read-only: `default_transaction_read_only` is on for the server,"
                " the database or the user; turn it off"
            )
        kept = fsync == "on" and synchronous != "off"
        lost = "" if kept else "; a crash of the server loses its last writes"
        return f"notifications wake idle workers{lost}"

    def caller_session(self, connection: Raw, texts: Texts) -> Session | None:
        """Return what executes statements by a program's connection of psycopg."""
        if not isinstance(connection, psycopg.Connection | psycopg.AsyncConnection):
            return None
        asynchronous = isinstance(connection, psycopg.AsyncConnection)
        if connection.closed:
            raise refused("it is closed; enqueue before that")
        status = connection.info.transaction_status
        if status == TransactionStatus.INERROR:
            raise refused("its transaction has failed; roll it back first")
        if connection.autocommit and status == TransactionStatus.IDLE:
            raise refused(
                "it is in autocommit mode and has no transaction; enqueue in a block"
                f" `{'async ' * asynchronous}with connection.transaction():`, or leave connection= out"
            )
        # rows and parameters are ours, whatever the connection was told about its own
        if isinstance(connection, psycopg.AsyncConnection):
            lent = LentCursor(psycopg.AsyncCursor(connection, row_factory=tuple_row))
            return Session(lent, texts)  # type: ignore[arg-type]  # its count of rows is only read
        cursor = psycopg.Cursor(connection, row_factory=tuple_row)
        return Session(cursor, texts)  # type: ignore[arg-type]  # it takes text, not only literals

    # -- errors -----------------------------------------------------------------------------

    def is_lost(self, error: Exception) -> bool:
        """Return whether the connection cannot be used any more."""
        code = _code(error)
        return isinstance(error, psycopg.InterfaceError) or (
            (isinstance(error, psycopg.OperationalError) and not code)
            or code[:2] == "08"
            or (code in {"57P01", "57P02", "57P03", _READ_ONLY, "25P03", "57P05"})
        )

    def is_repeatable(self, error: Exception) -> bool:
        """Return whether the same transaction may work at once."""
        return _code(error) in _REPEATABLE

    def is_read_only(self, error: Exception) -> bool:
        """Return whether the server has refused to write, so that nothing was written."""
        return _code(error) == _READ_ONLY

    def lacks_table(self, error: Exception) -> bool:
        """Return whether a table or column does not exist."""
        return _code(error) in _NO_TABLE

    def lacks_right(self, error: Exception) -> bool:
        """Return whether the user may not do this."""
        return _code(error) == _NO_RIGHT

    def has_been_created(self, error: Exception) -> bool:
        """Return whether another process has just created a table."""
        return isinstance(error, psycopg.errors.DuplicateTable)

    def read(self, error: Exception, address: str) -> BackendError:
        """Return the error to raise for an error of the driver."""
        code, text = _code(error), _text(error)
        if code in _TOO_LARGE or isinstance(error, psycopg.DataError):
            return PayloadTooLarge(f"postgresql at {address} accepts no value of this size or kind: {text}")
        if not code:
            code = next((found for part, found in _UNCONNECTED.items() if part in text), "")
        if not code and 'database "' in text and "does not exist" in text:
            code = "3D000"
        if code in _PERMANENT:
            why = _PERMANENT[code].format(setting=self.setting)
            return BackendRejected(f"postgresql at {address} refuses: {why} ({text})")
        if code in _NO_TABLE:
            return BackendRejected(f"postgresql at {address} lacks a table: {text}; run {self.init}")
        if code in _TRANSIENT or code[:2] in _TRANSIENT_CLASSES or self.is_lost(error):
            why = _TRANSIENT.get(code, "it does not answer")
            todo = if_nobody_listens(text, self.setting)
            return BackendUnavailable(f"postgresql at {address}: {why} ({text}){todo}")
        return BackendRejected(f"postgresql at {address} refuses: {text}")


def _code(error: Exception) -> str:
    return getattr(error, "sqlstate", None) or ""


def _text(error: Exception) -> str:
    """Return the first line of an error, without values."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    line = (primary or str(error)).strip().split("\n")[0]
    return (line or type(error).__name__)[:300]
