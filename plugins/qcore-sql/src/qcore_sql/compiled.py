"""Decides how a statement becomes the text that a connection executes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from sqlalchemy import func, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql import bindparam

from qcore_sql.expressions import MARIADB, value

if TYPE_CHECKING:
    from sqlalchemy import Dialect, Table

Rows = Sequence[tuple[Any, ...]]

# Statements are compiled to a text with named parameters, `%(name)s` or `:name`, and executed by a DB-API
# cursor. Any cursor will do, that of another library's connection too: nothing here opens a connection.
# Values are bytes, text, whole numbers, floats and lists of these, which drivers take as they are.


class Cursor(Protocol):
    """What is used of a DB-API cursor."""

    rowcount: int

    def execute(self, text: str, values: Any = None, /) -> object:  # noqa: ANN401 - as the driver takes them
        """Execute a statement."""

    def executemany(self, text: str, rows: Any, /) -> object:  # noqa: ANN401 - as the driver takes them
        """Execute a statement with each of the rows."""

    def fetchall(self) -> Sequence[Any]:
        """Return the rows of the last statement."""


class Varied:
    """A statement that is another one in each dialect, made by a function of the dialect's name."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make_one = make
        self._made: dict[str, Any] = {}

    def make(self, dialect: str) -> Any:  # noqa: ANN401 - an executable statement
        """Return the statement of a dialect."""
        found = self._made.get(dialect)
        return self._made.setdefault(dialect, self._make_one(dialect)) if found is None else found


def insert_into(table: Table, dialect: str) -> Any:  # noqa: ANN401 - its class differs from dialect to dialect
    """Return an INSERT that knows what the dialect can do about conflicts."""
    module: Any = mysql if dialect in MARIADB else sqlite if dialect == "sqlite" else postgresql
    return module.insert(table)


#: what is added to an INSERT, a function of statement and dialect
Then = Callable[[Any, str], Any]


class Insert(Varied):
    """A statement that inserts any number of rows, of which `fixed` columns have one value in all.

    Parameters are named after the columns. In PostgreSQL those that are not fixed are lists; elsewhere
    the statement is executed with each row.
    """

    def __init__(
        self,
        table: Table,
        *,
        fixed: Mapping[str, Any],
        varying: Sequence[str],
        change: Mapping[str, Callable[[Any], Any]] = MappingProxyType({}),
        then: Then = lambda statement, _: statement,
    ) -> None:
        self.varying = tuple(varying)
        self._table, self._fixed, self._change, self._then = table, fixed, change, then
        super().__init__(self._make)

    def _make(self, dialect: str) -> Any:  # noqa: ANN401 - an executable statement
        made = insert_into(self._table, dialect)
        if dialect != "postgresql":
            columns = self._table.c
            each = {name: self._changed(name, value(name, columns[name])) for name in self.varying}
            return self._then(made.values({**self._fixed, **each}), dialect)
        arrays = [bindparam(name, type_=ARRAY(self._table.c[name].type)) for name in self.varying]
        rows = func.unnest(*arrays).table_valued(*self.varying, name="new").render_derived()
        chosen = select(*self._fixed.values(), *(self._changed(name, rows.c[name]) for name in self.varying))
        return self._then(made.from_select([*self._fixed, *self.varying], chosen), dialect)

    def _changed(self, name: str, given: Any) -> Any:  # noqa: ANN401 - an expression
        return self._change[name](given) if name in self._change else given

    def values(self, rows: Rows, **fixed: object) -> dict[str, Any]:
        """Return the parameters for rows of the varying columns, as PostgreSQL takes them."""
        columns = zip(*rows, strict=True)
        return {**fixed, **{name: list(column) for name, column in zip(self.varying, columns, strict=True)}}

    def each(self, rows: Rows, **fixed: object) -> list[dict[str, Any]]:
        """Return the parameters for each row, as the others take them."""
        return [{**fixed, **dict(zip(self.varying, row, strict=True))} for row in rows]


def upsert(table: Table, **computed: Any) -> Varied:
    """Return a statement that inserts a row of all columns, or replaces the one with its key.

    Parameters are named after the columns, except those that are `computed`.
    """
    values = {c.name: computed[c.name] if c.name in computed else value(c.name, c) for c in table.c}
    others = [c.name for c in table.c if not c.primary_key]

    def make(dialect: str) -> Any:  # noqa: ANN401 - an executable statement
        statement = insert_into(table, dialect).values(values)
        if dialect in MARIADB:
            return statement.on_duplicate_key_update({name: statement.inserted[name] for name in others})
        return statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_={name: statement.excluded[name] for name in others},
        )

    return Varied(make)


def or_nothing(statement: Any, dialect: str) -> Any:  # noqa: ANN401 - an INSERT
    """Have an INSERT leave rows as they are that have its keys; how many were inserted is not known."""
    if dialect in MARIADB:
        # IGNORE would ignore much more
        (first, *_) = statement.table.primary_key.columns
        return statement.on_duplicate_key_update({first.name: first})
    return statement.on_conflict_do_nothing()


#: the names of lists in the text of a statement, see `expressions`
_LISTS: Final = re.compile(r"/\*(?:json )?(\w+)\*/")
#: where the text of a statement cannot be kept, because it contains the values
_UNSAFE: Final = re.compile(r"\0|[\ud800-\udfff]")


def clean(text: str) -> str:
    """Return a text without NUL and lone surrogates, which databases do not take."""
    return _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


#: characters of a key, as many as an index of MariaDB takes
KEY: Final = 255
#: characters that are kept of a longer one
_KEPT: Final = 200


def short_key(text: str) -> str:
    """Return a text that can be a key: a long one ends with a digest of the whole."""
    key = clean(text)
    if len(key) <= KEY:
        return key
    return f"{key[:_KEPT]}~{blake2b(key.encode(), digest_size=16).hexdigest()}"


class Compiled(NamedTuple):
    """The text of a statement, and the parameters that are always the same."""

    text: str
    constants: Mapping[str, Any]
    #: stored, so that no other statement has its id
    statement: Any
    #: names of parameters that are lists, to be written out
    lists: Sequence[str]


class Texts:
    """The texts of statements in one dialect; each is compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.is_postgresql = dialect.name == "postgresql"
        self._compiled: dict[int, Compiled] = {}

    def of(self, statement: Any) -> Compiled:  # noqa: ANN401 - an executable statement or a `Varied`
        """Return the text of a statement."""
        found = self._compiled.get(id(statement))
        if found is None:
            executable = statement.make(self.dialect.name) if isinstance(statement, Varied) else statement
            made = executable.compile(dialect=self.dialect)
            constants = {name: one.value for one, name in made.bind_names.items() if not one.required}
            text = str(made)
            lists = _LISTS.findall(text)
            found = self._compiled[id(statement)] = Compiled(text, constants, statement, lists)
        return found
