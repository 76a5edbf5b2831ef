"""Checks the server's settings for `qcore doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from qcore.errors import BackendRejected
from qcore_sql.database import Database
from qcore_sql.schema import VERSION

if TYPE_CHECKING:
    from qcore.interfaces import Settings
    from qcore_sql.compiled import Session

_SETTINGS: Final = select(
    func.current_setting("fsync"), func.current_setting("synchronous_commit"), func.pg_is_in_recovery()
)


def check(settings: Settings) -> str:
    """Return a text about the tables and durability.

    Raises:
        BackendError: the server is too old, read-only or does not answer.
    """
    database = Database(settings)
    try:
        fsync, synchronous, standby = database.read(_read)
        if standby:
            raise BackendRejected(
                f"postgresql at {database.address.title} is a standby and cannot be written; name the primary"
            )
    finally:
        database.close()
    kept = "" if fsync == "on" and synchronous != "off" else "; a crash of the server loses its last writes"
    return f"tables of version {VERSION}; notifications wake idle workers{kept}"


def _read(session: Session) -> tuple[str, str, bool]:
    found = session.one(_SETTINGS)
    assert found is not None
    return found[0], found[1], found[2]
