"""What is read of a server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from qcore_sql.expressions import now

if TYPE_CHECKING:
    from qcore_sql.session import Session

_TIME: Final = select(now())


def read_time(session: Session) -> float:
    """Return the epoch seconds that the server's clock shows."""
    found = session.one(_TIME)
    assert found is not None
    return float(found[0])
