"""Decides which tables there are and whether they are ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    column,
    select,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateIndex, CreateTable

from qcore_sql.compiled import KEY
from qcore_sql.expressions import MARIADB

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Dialect

#: increased whenever the tables change; `migrations` has a step for each
VERSION: Final = 3
#: characters of a queue's name, of a task's name or label, and of a key of the coordination store
_QUEUE, _NAME, _KEY = String(80), String(512), String(KEY)
_TASK_QUEUE: Final = String(64)
#: bytes of a message or result
_BODY = LargeBinary().with_variant(mysql.LONGBLOB(), *MARIADB)
#: rows that `number` of a lock is spread over, in MariaDB
LOCKS: Final = 64

METADATA: Final = MetaData()


def _number(name: str, *, default: int | None = None) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=None if default is None else str(default))


def _seconds(name: str, *, default: str | None = None) -> Column[float]:
    """Return a column of epoch seconds."""
    return Column(name, Double, nullable=False, server_default=default)


def _few_bytes(size: int) -> LargeBinary:
    """Return the type of bytes that a key can be of."""
    return LargeBinary(size).with_variant(mysql.VARBINARY(size), *MARIADB)


def _seq() -> Column[int]:
    """Return a column that the database numbers, without using a number again."""
    return Column("seq", BigInteger().with_variant(Integer(), "sqlite"), Identity(), primary_key=True)


def _where(condition: ColumnElement[bool]) -> dict[str, Any]:
    """Return the options of an index of some rows; MariaDB's is of all."""
    return {"postgresql_where": condition, "sqlite_where": condition}


def _queue() -> Column[str]:
    return Column("queue", _QUEUE, primary_key=True)


def _task_queue(**key: Any) -> Column[str]:
    """Return the queue that a task names; empty = the default one."""
    return Column("task_queue", _TASK_QUEUE, nullable=False, **key or {"server_default": ""})


#: A message that is ready, delayed or leased. `due` is when it may be leased: the time at which it was
#: enqueued, the end of its delay, or the end of its lease if it has a token.
MESSAGE: Final = Table(
    "qcore_message",
    METADATA,
    _seq(),
    Column("queue", _QUEUE, nullable=False),
    _number("priority", default=0),
    _seconds("due"),
    Column("token", BigInteger),
    _number("deliveries", default=0),
    _number("failures", default=0),
    _number("crashes", default=0),
    Column("body", _BODY, nullable=False),
    _task_queue(),
    # a lease reads it from the first entry of a task's queue and a priority, and stops at its limit
    Index("qcore_message_due", "queue", "task_queue", "priority", "due", "seq"),
    sqlite_autoincrement=True,
    # Each message leaves two dead rows. They are removed by their number, not by their share of the table,
    # and always from the indexes too, from whose beginning a lease reads.
    postgresql_with={
        "autovacuum_vacuum_scale_factor": 0,
        "autovacuum_vacuum_threshold": 5000,
        "autovacuum_vacuum_cost_delay": 0,
        "vacuum_index_cleanup": "on",
    },
)
DEAD_LETTER: Final = Table(
    "qcore_dead_letter",
    METADATA,
    _seq(),
    Column("queue", _QUEUE, nullable=False),
    _number("priority", default=0),
    _seconds("died"),
    _number("failures"),
    _number("crashes"),
    Column("reason", Text, nullable=False),
    Column("body", _BODY, nullable=False),
    _task_queue(),
    Index("qcore_dead_letter_queue", "queue", "seq"),
    sqlite_autoincrement=True,
)
#: Queues of tasks that have ever been named, the default one too once it has had a priority. A worker that
#: finds a row here looks for queues and priorities. No row is deleted: a producer may just have read it.
TASK_QUEUE: Final = Table(
    "qcore_task_queue",
    METADATA,
    _queue(),
    _task_queue(primary_key=True),
    Column("paused", Boolean, nullable=False),
)
#: ids of acknowledged messages, those of one time together; `high` is the highest of them
ENDED: Final = Table(
    "qcore_ended",
    METADATA,
    _seq(),
    Column("queue", _QUEUE, nullable=False),
    Column("bucket", _few_bytes(16), nullable=False),
    _seconds("ended"),
    _number("number"),
    Column("high", _few_bytes(16), nullable=False),
    Column("ids", _BODY, nullable=False),
    Index("qcore_ended_bucket", "queue", "bucket"),
    Index("qcore_ended_high", "queue", "high"),
    sqlite_autoincrement=True,
)
STATUS: Final = Table(
    "qcore_status",
    METADATA,
    _queue(),
    Column("cluster", _NAME, primary_key=True),
    _seconds("expires"),
    Column("body", _BODY, nullable=False),
)
RESULT: Final = Table(
    "qcore_result",
    METADATA,
    _queue(),
    Column("id", _few_bytes(16), primary_key=True),
    _number("state"),
    _seconds("finished"),
    _seconds("expires"),
    Column("name", _NAME, nullable=False),
    Column("grp", _NAME),
    Column("label", _NAME),
    Column("body", _BODY, nullable=False),
    Index("qcore_result_state", "queue", "state", "finished", "id"),
    Index("qcore_result_group", "queue", "grp", **_where(column("grp").is_not(None))),
    Index("qcore_result_expires", "queue", "expires", **_where(column("expires") > 0)),
)
SCHEDULE: Final = Table(
    "qcore_schedule",
    METADATA,
    _queue(),
    Column("name", _NAME, primary_key=True),
    _seconds("next_run"),
    Column("active", Boolean, nullable=False),
    _seconds("claimed_until", default="0"),
    Column("body", _BODY, nullable=False),
)
FLAG: Final = Table(
    "qcore_flag",
    METADATA,
    _queue(),
    Column("item", _KEY, primary_key=True),
    _seconds("expires"),
    Column("value", _BODY, nullable=False),
)
#: `number` is the order in which the holders of one item acquired their permits
PERMIT: Final = Table(
    "qcore_permit",
    METADATA,
    _queue(),
    Column("item", _KEY, primary_key=True),
    Column("holder", _few_bytes(255), primary_key=True),
    Column("number", BigInteger, nullable=False),
    _seconds("expires"),
)
#: the latest rate slot of each item
RATE: Final = Table(
    "qcore_rate",
    METADATA,
    _queue(),
    Column("item", _KEY, primary_key=True),
    _seconds("due"),
    _seconds("expires"),
)
#: rate slots that were assigned and have not come yet
RATE_SLOT: Final = Table(
    "qcore_rate_slot",
    METADATA,
    _queue(),
    Column("item", _KEY, primary_key=True),
    Column("holder", _few_bytes(255), primary_key=True),
    _seconds("due"),
    _seconds("expires"),
)
BARRIER: Final = Table(
    "qcore_barrier", METADATA, _queue(), Column("item", _KEY, primary_key=True), _seconds("expires")
)
BARRIER_MEMBER: Final = Table(
    "qcore_barrier_member",
    METADATA,
    _queue(),
    Column("item", _KEY, primary_key=True),
    Column("member", Integer, primary_key=True, autoincrement=False),
    Column("body", _BODY, nullable=False),
)
#: one row: the version of the tables, and a random text that names the database
SCHEMA: Final = Table(
    "qcore_schema",
    METADATA,
    Column("version", Integer, primary_key=True),
    Column("name", String(32), nullable=False),
)

#: what a coordination store keeps
COORDINATION: Final = (FLAG, PERMIT, RATE, RATE_SLOT, BARRIER_MEMBER, BARRIER)

READ_VERSION: Final = select(SCHEMA.c.version, SCHEMA.c.name)


#: One of the rows is locked by a transaction that must be alone with a key. Only MariaDB has them:
#: PostgreSQL has locks that are not rows, and SQLite has one transaction at a time.
LOCK: Final = Table(
    "qcore_lock", MetaData(), Column("number", Integer, primary_key=True, autoincrement=False)
)


def statements(dialect: Dialect, name: str) -> list[str]:
    """Return the SQL that creates everything.

    Args:
        dialect: of the database.
        name: the random text that names the database, hexadecimal digits.

    """
    found = []
    if dialect.name in MARIADB:
        found += [_whole(table, dialect) for table in [*METADATA.sorted_tables, LOCK]]
        rows = ", ".join(f"({number})" for number in range(LOCKS))
        found.append(f"INSERT IGNORE INTO qcore_lock (number) VALUES {rows}")  # noqa: S608 - constants of ours
    else:
        for table in METADATA.sorted_tables:
            found.append(_text(CreateTable(table), dialect))
            found += [_text(CreateIndex(index), dialect) for index in _indexes(table)]
    # the last, so that whoever reads it finds the others
    return [*found, f"INSERT INTO qcore_schema (version, name) VALUES ({VERSION}, '{name}')"]  # noqa: S608 - as above


def _indexes(table: Table) -> list[Index]:
    return sorted(table.indexes, key=lambda index: str(index.name))


def _whole(table: Table, dialect: Dialect) -> str:
    """Return a statement that creates a table with its indexes, and may be repeated.

    In MariaDB each is a transaction of its own, and a process may die between them.
    """
    text = _text(CreateTable(table, if_not_exists=True), dialect).removesuffix("\n)")
    for index in _indexes(table):
        text += f",\n  KEY {index.name} ({', '.join(one.name for one in index.columns)})"
    return f"{text}\n){options(dialect)}"


def options(dialect: Dialect) -> str:
    """Return what makes texts differ by each letter and blank, which the default does not."""
    collation = "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    return f" ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE {collation}"


def _text(element: CreateTable | CreateIndex, dialect: Dialect) -> str:
    lines = str(element.compile(dialect=dialect)).strip().splitlines()
    return "\n".join(line.rstrip().replace("\t", "  ") for line in lines)
