"""Decides how tables of an older version become those of this one."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from qcore_sql import schema
from qcore_sql.expressions import MARIADB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Dialect

_VACUUM: Final = (
    "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,"
    " autovacuum_vacuum_cost_delay = 0, vacuum_index_cleanup = on"
)
_TASK_QUEUE: Final = "task_queue VARCHAR(64) DEFAULT '' NOT NULL"
#: within a text
_TASK_QUEUE_OF_MARIADB: Final = "task_queue VARCHAR(64) NOT NULL DEFAULT ''''"
_DUE: Final = "(queue, task_queue, priority, due, seq)"
_ADDED: Final = (
    f"ALTER TABLE qcore_message ADD COLUMN {_TASK_QUEUE}",
    f"ALTER TABLE qcore_dead_letter ADD COLUMN {_TASK_QUEUE}",
    "DROP INDEX qcore_message_due",
    f"CREATE INDEX qcore_message_due ON qcore_message {_DUE}",
)
_TASK_QUEUES: Final = (
    "CREATE TABLE qcore_task_queue (\n  queue VARCHAR(80) NOT NULL,\n  task_queue VARCHAR(64) NOT NULL,"
    "\n  paused BOOLEAN NOT NULL,\n  PRIMARY KEY (queue, task_queue)\n)"
)


def _unless(there: str, change: str) -> tuple[str, ...]:
    """Return SQL of MariaDB and MySQL for a change that is left out if a query finds that it is made."""
    return (
        f"SET @qcore_change = IF({there}, 'DO 0', '{change}')",
        "PREPARE qcore_change FROM @qcore_change",
        "EXECUTE qcore_change",
        "DEALLOCATE PREPARE qcore_change",
    )


def _with_task_queue(table: str, *more: str) -> tuple[str, ...]:
    """Return SQL of MariaDB and MySQL that adds the column, and changes what is given in the same step."""
    return _unless(
        "EXISTS (SELECT 1 FROM information_schema.columns WHERE table_schema = DATABASE()"  # noqa: S608 - constants of ours
        f" AND table_name = '{table}' AND column_name = 'task_queue')",
        ", ".join((f"ALTER TABLE {table} ADD COLUMN {_TASK_QUEUE_OF_MARIADB}", *more)),
    )


#: Version -> SQL that makes it of the version before, by dialect. What was released stays as it is, so a
#: text, and not something that is computed from the tables of today. In MariaDB a process may die between
#: two statements, so that each may be repeated there.
STEPS: Final[Mapping[int, Mapping[str, Sequence[str]]]] = MappingProxyType(
    {
        2: {
            "postgresql": (f"ALTER TABLE qcore_message SET ({_VACUUM})",),
        },
        3: {
            "postgresql": (*_ADDED, _TASK_QUEUES),
            "sqlite": (*_ADDED, _TASK_QUEUES),
            "mysql": (
                *_with_task_queue(
                    "qcore_message",
                    "DROP KEY qcore_message_due",
                    f"ADD KEY qcore_message_due {_DUE}",
                ),
                *_with_task_queue("qcore_dead_letter"),
                _TASK_QUEUES.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS") + "{options}",
            ),
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
    options = schema.options(dialect) if kind == "mysql" else ""
    statements: list[str] = []
    for version in range(found + 1, wanted + 1):
        statements += [one.replace("{options}", options) for one in STEPS[version].get(kind, ())]
        # the last of a step, so that whoever reads it finds the others
        statements.append(f"UPDATE qcore_schema SET version = {version} WHERE version = {version - 1}")  # noqa: S608 - constants of ours
    return statements
