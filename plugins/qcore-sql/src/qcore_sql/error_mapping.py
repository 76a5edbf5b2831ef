"""Decides which error of qcore an error of PostgreSQL becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge

if TYPE_CHECKING:
    from qcore.errors import BackendError

#: SQLSTATE of a transaction that may work if it is repeated at once: serialization failure, deadlock
_REPEATABLE: Final = frozenset({"40001", "40P01"})
#: SQLSTATE of a table or column that does not exist
NO_TABLE: Final = frozenset({"42P01", "42703", "3F000"})
#: SQLSTATE of a missing right
NO_RIGHT: Final = "42501"
#: SQLSTATE -> text of an error that may pass
_TRANSIENT: Final = {
    "25006": "it is read-only: a standby, or one that was demoted",
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
    "28000": "it does not accept this user; see `sql.url` and the server's pg_hba.conf",
    "28P01": "it does not accept this user name and password; see `sql.url`",
    "3D000": "there is not a database of this name; create it, or see `sql.url`",
    NO_RIGHT: "the user lacks a right; grant select, insert, update and delete on the tables",
}
#: SQLSTATE of a value that is too large
_TOO_LARGE: Final = frozenset({"54000", "54001", "22001"})


def is_lost(error: psycopg.Error) -> bool:
    """Return whether the connection cannot be used any more."""
    code = error.sqlstate or ""
    if isinstance(error, psycopg.InterfaceError):
        return True
    return (
        (isinstance(error, psycopg.OperationalError) and not code)
        or code[:2] == "08"
        or (code in {"57P01", "57P02", "57P03", "25006", "25P03", "57P05"})
    )


def is_repeatable(error: psycopg.Error) -> bool:
    """Return whether the same transaction may work at once."""
    return error.sqlstate in _REPEATABLE


def read(error: psycopg.Error, address: str) -> BackendError:
    """Return the error to raise for an error of the driver."""
    code = error.sqlstate or ""
    text = _text(error)
    if code in _TOO_LARGE or isinstance(error, psycopg.DataError):
        return PayloadTooLarge(f"postgresql at {address} accepts no value of this size or kind: {text}")
    if not code and "password authentication failed" in text:
        code = "28P01"
    if not code and 'database "' in text and "does not exist" in text:
        code = "3D000"
    if code in _PERMANENT:
        return BackendRejected(f"postgresql at {address} refuses: {_PERMANENT[code]} ({text})")
    if code in NO_TABLE:
        return BackendRejected(f"postgresql at {address} lacks a table: {text}; run qcore sql init")
    if code in _TRANSIENT or code[:2] in _TRANSIENT_CLASSES or is_lost(error):
        why = _TRANSIENT.get(code, "it does not answer")
        return BackendUnavailable(f"postgresql at {address}: {why} ({text})")
    return BackendRejected(f"postgresql at {address} refuses: {text}")


def _text(error: psycopg.Error) -> str:
    """Return the first line of an error, without values."""
    line = (error.diag.message_primary or str(error)).strip().split("\n")[0]
    return (line or type(error).__name__)[:300]
