"""Decides which database of the site the key `orm` names."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from qcore.errors import BackendRejected
from qcore_django.orm.backends import KINDS
from qcore_sql.address import Address
from qcore_sql.compiled import Texts
from qcore_sql.settings import SqlSettings
from qcore_text.wording import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper
    from sqlalchemy import Dialect

    from qcore.interfaces import Settings

_DIALECTS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "postgresql": PGDialect_psycopg,
        "mysql": MySQLDialect_pymysql,
        "sqlite": SQLiteDialect_pysqlite,
    }
)


@attrs.frozen(kw_only=True)
class OrmAddress(Address):
    """A database of the site."""

    alias: str

    @property
    def key(self) -> str:
        """Return a text that is equal for addresses that can share connections."""
        return repr((self.alias, self.title, self.settings.timeout))


def find(settings: Settings) -> OrmAddress:
    """Return the address that the key `orm` names.

    Raises:
        BackendRejected: Django has no such database, or one of a kind that is not supported.
    """
    alias = settings.section("orm")
    if not alias:
        raise BackendRejected("`orm` is not set; set it to an alias of DATABASES, such as 'default'")
    try:
        if alias not in connections.settings:
            raise BackendRejected(
                f"`orm` names {alias!r}, and DATABASES has {listed(connections.settings)}"
                f"{did_you_mean(alias, connections.settings)}"
            )
        # the alias as it is: routers are not asked
        wrapper = connections[alias]
    except ImproperlyConfigured as exc:
        raise BackendRejected(f"`orm` names {alias!r}, and Django refuses: {exc}") from exc
    if wrapper.vendor not in KINDS:
        raise BackendRejected(
            f"`orm` names {alias!r}, a database of the kind {wrapper.vendor!r}, which is not supported;"
            " name one of PostgreSQL, MariaDB, MySQL or SQLite"
        )
    return OrmAddress(
        alias=alias,
        backend=KINDS[wrapper.vendor](alias),
        dialect=dialect_of(wrapper.vendor, by_driver=True),
        keywords={},
        title=_title(wrapper),
        settings=SqlSettings(create_tables=False),
    )


def dialect_of(vendor: str, *, by_driver: bool = False) -> Dialect:
    """Return what statements are compiled for.

    Args:
        vendor: as Django calls the kind of the database.
        by_driver: whether cursors are the driver's, and not Django's, which take one style of parameters.

    """
    style = "named" if by_driver and vendor == "sqlite" else "pyformat"
    made: Dialect = _DIALECTS[vendor](paramstyle=style)
    return made


@cache
def texts_of(vendor: str) -> Texts:
    """Return the texts of statements for cursors of Django's."""
    return Texts(dialect_of(vendor))


def _title(wrapper: BaseDatabaseWrapper) -> str:
    """Return server and database for messages, without credentials."""
    found = wrapper.settings_dict
    name = str(found["NAME"] or found["OPTIONS"].get("service", ""))
    if wrapper.vendor == "sqlite":
        is_path = name != ":memory:" and not name.startswith("file:")
        return str(Path(name).absolute() if is_path else name)[-150:]
    port = f":{found['PORT']}" if found["PORT"] else ""
    return f"{found['HOST'] or 'localhost'}{port}/{name}"[:150]
