"""Executes statements by a connection for coroutines, from a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qcore_loop.lending import ask

if TYPE_CHECKING:
    from collections.abc import Sequence


class LentCursor:
    """A cursor of a driver for coroutines, with the methods of one for threads."""

    def __init__(self, cursor: Any) -> None:  # noqa: ANN401 - of any driver
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""
        count: int = self._cursor.rowcount
        return count

    def execute(self, text: str, values: Any = None, /) -> None:  # noqa: ANN401 - as the driver takes them
        """Execute a statement."""
        ask(self._cursor.execute, text, values)

    def executemany(self, text: str, rows: Any, /) -> None:  # noqa: ANN401 - as the driver takes them
        """Execute a statement with each of the rows."""
        ask(self._cursor.executemany, text, rows)

    def fetchall(self) -> Sequence[Any]:
        """Return the rows of the last statement."""
        rows: Sequence[Any] = ask(self._cursor.fetchall)
        return rows


class LentConnection:
    """A connection of SQLAlchemy for coroutines, with the method `execute` of one for threads."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - an AsyncConnection
        self._connection = connection

    def execute(self, statement: Any, values: Any) -> Any:  # noqa: ANN401 - as SQLAlchemy takes and returns them
        """Execute a statement; the result has all its rows."""
        return ask(self._connection.execute, statement, values)
