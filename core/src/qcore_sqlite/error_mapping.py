"""Decides which error of qcore an error of SQLite becomes."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from qcore.errors import BackendRejected, BackendUnavailable, PayloadTooLarge

if TYPE_CHECKING:
    from qcore.errors import BackendError

#: the result codes of errors that waiting can resolve
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FORBIDDEN = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)


def primary_code(error: BaseException) -> int:
    """Return SQLite's primary result code, 0 if the error has none."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else 0


def translate(error: sqlite3.Error | OverflowError, path: str, timeout: float) -> BackendError:
    """Return the error to raise for `error`; its message names the file and what to do."""
    code = primary_code(error)
    if code in BUSY:
        return BackendUnavailable(
            f"{path} is locked by another process for longer than {timeout:g} s;"
            " find the process that holds it, or raise `sqlite.busy_timeout`"
        )
    if code == sqlite3.SQLITE_FULL:
        return BackendUnavailable(
            f"the disk that holds {path} is full and nothing was changed; make room and try again"
        )
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT):
        return BackendUnavailable(f"reading or writing {path} failed ({error}); check the disk and try again")
    if code in _CORRUPT:
        return BackendRejected(
            f"{path} is damaged or not a SQLite database ({error});"
            " restore it from a backup, or move it away to start with an empty queue"
        )
    if code in _FORBIDDEN:
        return BackendRejected(
            f"{path} cannot be opened or written ({error});"
            " check the permissions of the file and its directory"
        )
    if code == sqlite3.SQLITE_TOOBIG or isinstance(error, OverflowError):
        return PayloadTooLarge(
            f"a message or result is too large for SQLite ({error});"
            " store the data elsewhere and send a reference to it"
        )
    return BackendRejected(
        f"{path} cannot be used ({error}); check whether another program created or changed it"
    )
