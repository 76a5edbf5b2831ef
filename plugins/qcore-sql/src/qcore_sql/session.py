"""Executes statements as part of a transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qcore_sql.compiled import Varied
from qcore_sql.expressions import JSON, LIST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from qcore_sql.compiled import Cursor, Insert, Rows, Texts
    from qcore_sql.lent import LentConnection


class Session:
    """Executes statements by a cursor, as part of the transaction of its connection."""

    def __init__(self, cursor: Cursor, texts: Texts) -> None:
        self.cursor = cursor
        self._texts = texts
        #: whether a change can return rows, and a parameter can be an array
        self.is_postgresql = texts.is_postgresql

    @property
    def dialect(self) -> str:
        """The name of the dialect."""
        return self._texts.dialect.name

    def _execute(self, statement: Any, values: dict[str, object]) -> Cursor:  # noqa: ANN401 - see `Texts.of`
        text, constants, _, lists = self._texts.of(statement)
        if lists:
            text = self._write_out(text, lists, values)
        self.cursor.execute(text, {**constants, **values} if constants else values)
        return self.cursor

    def _write_out(self, text: str, lists: Sequence[str], values: dict[str, Any]) -> str:
        """Return a text with a parameter for each value of its lists, which are added to `values`."""
        named = ":{}" if self._texts.dialect.paramstyle == "named" else "%({})s"
        for name in dict.fromkeys(lists):
            if JSON.format(name) in text:
                values[name] = json.dumps(values[name])
                text = text.replace(JSON.format(name), named.format(name))
                continue
            each = {f"{name}_{number}": one for number, one in enumerate(values.pop(name))}
            values |= each
            text = text.replace(LIST.format(name), ", ".join(map(named.format, each)) or "NULL")
        return text

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
        text, constants, *_ = self._texts.of(statement)
        self.cursor.executemany(text, [{**constants, **row} for row in rows] if constants else rows)
        return max(0, self.cursor.rowcount)

    def insert(self, statement: Insert, rows: Rows, **fixed: object) -> None:
        """Insert rows."""
        if rows and self.is_postgresql:
            self.run(statement, **statement.values(rows, **fixed))
        elif rows:
            self.run_each(statement, statement.each(rows, **fixed))


class CoreSession(Session):
    """Executes statements by a connection of SQLAlchemy, whatever its driver is."""

    def __init__(self, connection: Connection | LentConnection, texts: Texts) -> None:
        self._connection = connection
        self._texts = texts
        self.is_postgresql = texts.is_postgresql

    def _execute(self, statement: Any, values: dict[str, object]) -> Any:  # noqa: ANN401 - a result, which is much like a cursor
        return self._connection.execute(self._made(statement), values)

    def run_each(self, statement: Any, rows: Sequence[Mapping[str, object]]) -> int:  # noqa: ANN401 - see `Texts.of`
        """Execute a statement for each row of parameters; return how many rows it changed."""
        return max(0, self._connection.execute(self._made(statement), list(rows)).rowcount) if rows else 0

    def _made(self, statement: Any) -> Any:  # noqa: ANN401 - see `Texts.of`
        return statement.make(self._texts.dialect.name) if isinstance(statement, Varied) else statement
