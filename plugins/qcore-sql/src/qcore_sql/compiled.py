"""Decides how a statement becomes the text that a connection executes."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 - the type of a field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from sqlalchemy import Double, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as insert_or_update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import bindparam
from sqlalchemy.sql.expression import ColumnElement, FunctionElement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column, Connection, Dialect, Table
    from sqlalchemy.sql.compiler import SQLCompiler

    Rows = Sequence[tuple[Any, ...]]

# Statements are compiled to a text with named parameters, `%(name)s`, and executed by a DB-API cursor. Any
# cursor will do, that of another library's connection too: nothing here opens a connection. Values are
# bytes, text, whole numbers, floats and lists of these, which drivers take as they are.


class Cursor(Protocol):
    """What is used of a DB-API cursor."""

    rowcount: int

    def execute(self, text: str, values: Any = None, /) -> object:  # noqa: ANN401 - as the driver takes them
        """Execute a statement."""

    def executemany(self, text: str, rows: Any, /) -> object:  # noqa: ANN401 - as the driver takes them
        """Execute a statement with each of the rows."""

    def fetchall(self) -> Sequence[Any]:
        """Return the rows of the last statement."""


class now(FunctionElement[float]):  # noqa: N801 - it reads as a function of SQL
    """The epoch seconds that the server's clock shows when the statement begins."""

    type = Double()
    inherit_cache = True
    name = "now"


@compiles(now, "postgresql")
def _now(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    del element, compiler, kw
    return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION)"


class one_of(ColumnElement[bool]):  # noqa: N801 - it reads as an operator of SQL
    """Whether a column has one of the values of the parameter `name`, a list."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.name = name


@compiles(one_of, "postgresql")
def _one_of(element: one_of, compiler: SQLCompiler, **kw: Any) -> str:
    values = bindparam(element.name, type_=ARRAY(element.column.type))
    return f"{compiler.process(element.column, **kw)} = ANY ({compiler.process(values, **kw)})"


def value(name: str, column: Column[Any]) -> Any:  # noqa: ANN401 - a parameter of the column's type
    """Return a parameter of the type of a column."""
    return bindparam(name, type_=column.type)


class Insert:
    """A statement that inserts any number of rows, of which `fixed` columns have one value in all.

    Parameters are named after the columns; those that are not fixed are lists.
    """

    def __init__(
        self,
        table: Table,
        *,
        fixed: Mapping[str, Any],
        varying: Sequence[str],
        change: Mapping[str, Callable[[Any], Any]] = MappingProxyType({}),
        then: Callable[[Any], Any] = lambda statement: statement,
    ) -> None:
        self.varying = tuple(varying)
        arrays = [bindparam(name, type_=ARRAY(table.c[name].type)) for name in varying]
        rows = func.unnest(*arrays).table_valued(*varying, name="new").render_derived()
        columns = [change[name](rows.c[name]) if name in change else rows.c[name] for name in varying]
        chosen = select(*fixed.values(), *columns)
        self.statement: Any = then(insert_or_update(table).from_select([*fixed, *varying], chosen))

    def values(self, rows: Rows, **fixed: object) -> dict[str, Any]:
        """Return the parameters for rows of the varying columns."""
        columns = zip(*rows, strict=True)
        return {**fixed, **{name: list(column) for name, column in zip(self.varying, columns, strict=True)}}


def upsert(table: Table, **computed: Any) -> Any:  # noqa: ANN401 - its class differs from database to database
    """Return a statement that inserts a row of all columns, or replaces the one with its key.

    Parameters are named after the columns, except those that are `computed`.
    """
    values = {c.name: computed[c.name] if c.name in computed else value(c.name, c) for c in table.c}
    statement = insert_or_update(table).values(values)
    others = {c.name: statement.excluded[c.name] for c in table.c if not c.primary_key}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=others)


def insert_new(table: Table, names: Sequence[str]) -> Any:  # noqa: ANN401 - as above
    """Return a statement that inserts a row unless there is one with its key."""
    return (
        insert_or_update(table)
        .values({name: value(name, table.c[name]) for name in names})
        .on_conflict_do_nothing()
    )


#: where the text of a statement cannot be kept, because it contains the values
_UNSAFE: Final = re.compile(r"\0|[\ud800-\udfff]")


def clean(text: str) -> str:
    """Return a text without NUL and lone surrogates, which databases do not take."""
    return _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class Compiled(NamedTuple):
    """The text of a statement, and the parameters that are always the same."""

    text: str
    constants: Mapping[str, Any]
    #: stored, so that no other statement has its id
    statement: Any


class Texts:
    """The texts of statements in one dialect; each is compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._compiled: dict[int, Compiled] = {}

    def of(self, statement: Any) -> Compiled:  # noqa: ANN401 - an executable statement or an `Insert`
        """Return the text of a statement."""
        found = self._compiled.get(id(statement))
        if found is None:
            executable = statement.statement if isinstance(statement, Insert) else statement
            made = executable.compile(dialect=self.dialect)
            constants = {name: one.value for name, one in made.binds.items() if not one.required}
            found = self._compiled[id(statement)] = Compiled(str(made), constants, statement)
        return found


class Session:
    """Executes statements by a cursor, as part of the transaction of its connection."""

    def __init__(self, cursor: Cursor, texts: Texts) -> None:
        self._cursor = cursor
        self._texts = texts

    def _execute(self, statement: Any, values: dict[str, object]) -> Cursor:  # noqa: ANN401 - see `Texts.of`
        text, constants, _ = self._texts.of(statement)
        self._cursor.execute(text, {**constants, **values} if constants else values)
        return self._cursor

    def rows(self, statement: Any, **values: object) -> Rows:  # noqa: ANN401 - see `Texts.of`
        """Return the rows of a query, or of a change that returns rows."""
        return self._execute(statement, values).fetchall()

    def one(self, statement: Any, **values: object) -> tuple[Any, ...] | None:  # noqa: ANN401 - as above
        """Return the first row, None if there is none."""
        found = self.rows(statement, **values)
        return found[0] if found else None

    def run(self, statement: Any, **values: object) -> int:  # noqa: ANN401 - as above
        """Execute a statement; return how many rows it changed."""
        return max(0, self._execute(statement, values).rowcount)

    def run_each(self, statement: Any, rows: Sequence[Mapping[str, object]]) -> int:  # noqa: ANN401 - as above
        """Execute a statement for each row of parameters; return how many rows it changed."""
        if len(rows) == 1:
            return self.run(statement, **rows[0])
        if not rows:
            return 0
        text, constants, _ = self._texts.of(statement)
        self._cursor.executemany(text, [{**constants, **row} for row in rows])
        return max(0, self._cursor.rowcount)

    def insert(self, statement: Insert, rows: Rows, **fixed: object) -> int:
        """Insert rows; return how many were inserted or changed."""
        return self.run(statement, **statement.values(rows, **fixed)) if rows else 0


class CoreSession(Session):
    """Executes statements by a connection of SQLAlchemy, whatever its driver is."""

    def __init__(self, connection: Connection, texts: Texts) -> None:
        self._connection = connection
        self._texts = texts

    def _execute(self, statement: Any, values: dict[str, object]) -> Any:  # noqa: ANN401 - a result, which is much like a cursor
        executable = statement.statement if isinstance(statement, Insert) else statement
        return self._connection.execute(executable, values)
