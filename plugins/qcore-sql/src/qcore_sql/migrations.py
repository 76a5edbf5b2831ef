"""Decides how tables of an older version become those of this one."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from qcore_sql.expressions import MARIADB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Dialect

_VACUUM: Final = (
    "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,"
    " autovacuum_vacuum_cost_delay = 0, vacuum_index_cleanup = on"
)
#: Version -> SQL that makes it of the version before, by dialect. What was released stays as it is, so a
#: text, and not something that is computed from the tables of today. In MariaDB a process may die between
#: two statements, so that each may be repeated there.
STEPS: Final[Mapping[int, Mapping[str, Sequence[str]]]] = MappingProxyType(
    {
        2: {
            "postgresql": (f"ALTER TABLE qcore_message SET ({_VACUUM})",),
        },
    }
)


def upgrades(dialect: Dialect, found: int, wanted: int) -> list[str]:
    """Return the SQL that migrates tables.

    Args:
        dialect: of the database.
        found: the version that they have.
        wanted: the version that they get.

    """
    kind = "mysql" if dialect.name in MARIADB else dialect.name
    statements: list[str] = []
    for version in range(found + 1, wanted + 1):
        statements += STEPS[version].get(kind, ())
        # the last of a step, so that whoever reads it finds the others
        statements.append(f"UPDATE qcore_schema SET version = {version} WHERE version = {version - 1}")  # noqa: S608 - constants of ours
    return statements
