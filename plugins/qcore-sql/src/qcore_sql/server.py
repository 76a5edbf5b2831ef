"""What is read of a server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from qcore_sql.compiled import now

if TYPE_CHECKING:
    from qcore_sql.compiled import Session

_TIME: Final = select(now())
_VERSION: Final = select(func.current_setting("server_version"))


def read_time(session: Session) -> float:
    """Return the epoch seconds that the server's clock shows."""
    found = session.one(_TIME)
    assert found is not None
    return float(found[0])


def read_info(session: Session) -> str:
    """Return the version of the server."""
    found = session.one(_VERSION)
    assert found is not None
    return str(found[0]).split()[0]
