"""Decides how an expression is written in each database's SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Double
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import bindparam
from sqlalchemy.sql.expression import ColumnElement, FunctionElement

if TYPE_CHECKING:
    from sqlalchemy import Column
    from sqlalchemy.sql.compiler import SQLCompiler

#: Names of SQLAlchemy's dialects for MariaDB and MySQL; a program's own connection may have either.
MARIADB: Final = ("mysql", "mariadb")


class now(FunctionElement[float]):  # noqa: N801 - it reads as a function of SQL
    """The epoch seconds that the server's clock shows when the statement begins."""

    type = Double()
    inherit_cache = True
    name = "now"

    @staticmethod
    def text(dialect: str) -> str:
        """Return how a dialect writes it, for statements that are texts."""
        if dialect in MARIADB:
            # neither part depends on the time zone of the connection, and both are of the statement's start
            return "(UNIX_TIMESTAMP() + MICROSECOND(NOW(6)) / 1e6)"
        if dialect == "sqlite":
            return "((julianday('now') - 2440587.5) * 86400.0)"
        return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION)"


@compiles(now)
def _now(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    del kw
    return element.text(compiler.dialect.name)


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


@compiles(one_of, *MARIADB, "sqlite")
def _one_of_list(element: one_of, compiler: SQLCompiler, **kw: Any) -> str:
    # the list is written out when the statement is executed, see `Session`
    return f"{compiler.process(element.column, **kw)} IN ({LIST.format(element.name)})"


#: stands for the values of a list in the text of a statement
LIST: Final = "/*{}*/"
#: stands for a list as one value, an array of JSON
JSON: Final = "/*json {}*/"


def value(name: str, column: Column[Any]) -> Any:  # noqa: ANN401 - a parameter of the column's type
    """Return a parameter of the type of a column."""
    return bindparam(name, type_=column.type)
