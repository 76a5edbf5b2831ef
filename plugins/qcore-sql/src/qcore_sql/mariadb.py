"""Decides how MariaDB is connected to, and what its errors mean."""

from __future__ import annotations

import socket
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, ClassVar, Final

import pymysql  # type: ignore[import-untyped]  # it has none
from pymysql.constants import CLIENT, SERVER_STATUS  # type: ignore[import-untyped]  # it has none

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge
from qcore_sql.backend import Backend, Raw, refused
from qcore_sql.mariadb_wait import Connection
from qcore_sql.session import Session
from qcore_text.wording import if_nobody_listens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.errors import BackendError
    from qcore_sql.address import Address
    from qcore_sql.compiled import Cursor, Texts

#: versions of the servers from here on are supported, because older ones do not skip locked rows
_OLDEST: Final = {"MariaDB": (10, 6), "MySQL": (8, 0)}
#: seconds to wait for the lock under which tables are created
_CREATING: Final = 30
#: A range that is read is not locked, or who enqueues would wait for who leases. Values that do not fit are
#: refused, and so are the silent changes of a loose mode.
_SETUP: Final = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = 5",
)

#: number of a deadlock, of a lock that was waited for, and of a row that another process has just inserted
_REPEATABLE: Final = frozenset({1213, 1205, 1062})
_NO_TABLE: Final = frozenset({1146, 1054})
_NO_RIGHT: Final = frozenset({1142, 1143, 1370})
_CREATED: Final = frozenset({1050, 1061, 1062})
#: number of a change that a server refuses which is a replica now
_READ_ONLY: Final = frozenset({1290, 1792, 1836})
#: the last three are MySQL's: it is not available, the session was killed, it was idle for long
_LOST: Final = _READ_ONLY | {
    *(0, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1927, 2002, 2003, 2006, 2013, 2014, 2055),
    *(3168, 3169, 4031),
}
#: number -> text of an error that may pass
_TRANSIENT: Final = {
    1021: "its disk is full",
    1026: "it cannot write its files",
    1030: "it cannot read or write its files",
    1037: "it is out of memory",
    1040: "it has no connections left; raise `max_connections`",
    1041: "it is out of memory",
    1114: "its disk is full",
    1203: "the user has no connections left; raise `max_user_connections`",
    1205: "other transactions conflicted with this one; try again",
    1213: "other transactions conflicted with this one; try again",
    1226: "the user has no connections left",
    1290: "it is read-only: a replica, or one that was demoted",
    1792: "it is read-only: a replica, or one that was demoted",
    1836: "it is read-only: a replica, or one that was demoted",
    1969: "the statement took longer than `max_statement_time`",
    3024: "the statement took longer than `max_execution_time`",
}
#: number -> text of an error that repeating does not help
_PERMANENT: Final = {
    1044: "it does not accept this user for this database; see {setting}",
    1045: "it does not accept this user name and password; see {setting}",
    1049: "there is not a database of this name; create it, or see {setting}",
    1698: "it does not accept this user; see {setting}",
}
#: number of a value that is too large
_TOO_LARGE: Final = frozenset({1153, 1264, 1301, 1366, 1406})


class MariaDb(Backend):
    """MariaDB or MySQL by PyMySQL."""

    name = "mariadb"
    takes = "a Connection of PyMySQL"
    error: ClassVar[type[Exception]] = pymysql.MySQLError

    def connect(self, address: Address) -> Raw:
        """Open a connection; each statement is a transaction of its own unless one is begun."""
        seconds = address.settings.timeout
        connection = Connection(
            autocommit=True,
            charset="utf8mb4",
            read_timeout=seconds,
            write_timeout=seconds,
            # an UPDATE counts the rows that it finds
            client_flag=CLIENT.FOUND_ROWS,
            # what encrypts takes 70 ms to be made, and a Unix socket needs none
            **{"ssl_disabled": "unix_socket" in address.keywords, **address.keywords},
            defer_connect=True,
        )
        _connect(connection)
        try:
            with closing(connection.cursor()) as cursor:
                for statement in _SETUP:
                    cursor.execute(statement)
        except BaseException:
            self.close(connection)
            raise
        return connection

    def is_open(self, connection: Raw) -> bool:
        """Return whether a connection can be used again."""
        return bool(connection.open)

    def number_of_socket(self, connection: Raw) -> int:
        """Return the number of an open connection's socket."""
        number: int = connection._sock.fileno()  # noqa: SLF001 - it has no public name
        return number

    def in_transaction(self, connection: Raw) -> bool:
        """Return whether a connection is open and has a transaction."""
        return bool(connection.open and connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)

    def check_version(self, connection: Raw, title: str) -> None:
        """Refuse a server that is too old."""
        kind, version = _version(connection.server_version)
        if version < _OLDEST[kind]:
            oldest = ".".join(map(str, _OLDEST[kind]))
            raise BackendRejected(f"mariadb at {title} is {kind} older than {oldest}; upgrade it")

    def has_tables(self, cursor: Cursor) -> bool:
        """Return whether there are tables of qcore."""
        cursor.execute("SHOW TABLES LIKE 'qcore\\_schema'")
        return bool(cursor.fetchall())

    @contextmanager
    def creating(self, connection: Raw) -> Iterator[Cursor]:
        """Wait until no other process creates tables; each is created by itself."""
        with closing(connection.cursor()) as cursor:
            cursor.execute("SELECT GET_LOCK('qcore', %s)", (_CREATING,))
            try:
                yield cursor
            finally:
                if connection.open:
                    cursor.execute("SELECT RELEASE_LOCK('qcore')")

    def info(self, cursor: Cursor) -> str:
        """Return what it is, and its version."""
        cursor.execute("SELECT VERSION()")
        kind, version = _version(str(cursor.fetchall()[0][0]))
        return f"{kind} {'.'.join(map(str, version))}"

    def check(self, cursor: Cursor, title: str) -> str:
        """Return what the doctor says about durability."""
        cursor.execute("SELECT @@read_only, @@innodb_flush_log_at_trx_commit")
        ((read_only, flushed),) = cursor.fetchall()
        if read_only:
            raise BackendRejected(f"mariadb at {title} is read-only; name the primary")
        lost = "" if flushed == 1 else "; a crash of the server loses its last writes"
        return f"idle workers look for messages each `poll` seconds{lost}"

    def caller_session(self, connection: Raw, texts: Texts) -> Session | None:
        """Return what executes statements by a program's connection of PyMySQL."""
        if not isinstance(connection, pymysql.connections.Connection):
            return None
        if not connection.open:
            raise refused("it is closed; enqueue before that")
        in_transaction = connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS
        if connection.get_autocommit() and not in_transaction:
            raise refused(
                "it is in autocommit mode and has no transaction; call its `begin()` first, or leave"
                " connection= out"
            )
        # rows are ours, whatever the connection was told about its own
        return Session(pymysql.cursors.Cursor(connection), texts)

    # -- errors -----------------------------------------------------------------------------

    def is_lost(self, error: Exception) -> bool:
        """Return whether the connection cannot be used any more."""
        return isinstance(error, pymysql.InterfaceError) or _number(error) in _LOST

    def is_repeatable(self, error: Exception) -> bool:
        """Return whether the same transaction may work at once."""
        return _number(error) in _REPEATABLE

    def is_read_only(self, error: Exception) -> bool:
        """Return whether the server has refused to write, so that nothing was written."""
        return _number(error) in _READ_ONLY

    def lacks_table(self, error: Exception) -> bool:
        """Return whether a table or column does not exist."""
        return _number(error) in _NO_TABLE

    def lacks_right(self, error: Exception) -> bool:
        """Return whether the user may not do this."""
        return _number(error) in _NO_RIGHT

    def has_been_created(self, error: Exception) -> bool:
        """Return whether another process has just created a table."""
        return _number(error) in _CREATED

    def read(self, error: Exception, address: str) -> BackendError:
        """Return the error to raise for an error of the driver."""
        number, text = _number(error), str(error.args[-1] if error.args else error)[:300]
        if number in _TOO_LARGE or isinstance(error, pymysql.DataError):
            return PayloadTooLarge(f"mariadb at {address} accepts no value of this size or kind: {text}")
        if number in _PERMANENT:
            why = _PERMANENT[number].format(setting=self.setting)
            return BackendRejected(f"mariadb at {address} refuses: {why} ({text})")
        if number in _NO_RIGHT:
            why = "the user lacks a right; grant select, insert, update and delete on the tables"
            return BackendRejected(f"mariadb at {address} refuses: {why} ({text})")
        if number in _NO_TABLE:
            return BackendRejected(f"mariadb at {address} lacks a table: {text}; run {self.init}")
        if number in _TRANSIENT or self.is_lost(error):
            why = _TRANSIENT.get(number, "it does not answer")
            todo = if_nobody_listens(text, self.setting)
            return BackendUnavailable(f"mariadb at {address}: {why} ({text}){todo}")
        return BackendRejected(f"mariadb at {address} refuses: {text}")


def _connect(connection: Raw) -> None:
    """Connect; by a Unix socket of ours, because the driver forgets to close one that cannot be connected."""
    if not connection.unix_socket:
        connection.connect()
        return
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        own.settimeout(connection.connect_timeout)
        own.connect(connection.unix_socket)
    except OSError as exc:
        own.close()
        raise pymysql.OperationalError(2002, f"cannot connect to {connection.unix_socket} ({exc})") from exc
    # passwords may be sent by it as by an encrypted connection
    connection._secure = True  # noqa: SLF001 - it has no public way
    connection.connect(own)


def _version(text: str) -> tuple[str, tuple[int, ...]]:
    """Return which server it is, and its version."""
    kind = "MariaDB" if "mariadb" in text.lower() else "MySQL"
    # old servers say first what they would be as MySQL
    number = text.removeprefix("5.5.5-").partition("-")[0]
    return kind, tuple(int(part) for part in number.split(".")[:3] if part.isdigit())


def _number(error: Exception) -> int:
    found = error.args[0] if error.args else 0
    return found if isinstance(found, int) else 0
