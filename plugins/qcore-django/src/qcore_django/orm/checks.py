"""Checks the database for `qcore doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore_django.orm.database import OrmDatabase
from qcore_sql.schema import VERSION

if TYPE_CHECKING:
    from qcore.interfaces import Settings


def check(settings: Settings) -> str:
    """Return a text about the tables and durability.

    Raises:
        BackendError: the database is too old, read-only, has no tables or does not answer.
    """
    database = OrmDatabase(settings)
    try:
        return f"tables of version {VERSION}; {database.check()}"
    finally:
        database.close()
