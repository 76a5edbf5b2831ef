"""Decides how our own connections are opened by a site's settings."""

from __future__ import annotations

from contextlib import closing
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs
import pymysql  # type: ignore[import-untyped]  # it has none
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from qcore.errors import BackendRejected
from qcore_sql.mariadb import MariaDb
from qcore_sql.postgresql import PostgreSql
from qcore_sql.sqlite import Sqlite

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper

    from qcore_sql.address import Address
    from qcore_sql.backend import Raw
    from qcore_sql.compiled import Cursor
    from qcore_sql.postgresql_wait import Connection

#: parameters that Django gives to psycopg, and that are of its own use of a connection
_OF_DJANGO: Final = ("cursor_factory", "context")
#: parameters that Django gives to its driver of MariaDB, and that are set by ours
_SET_BY_US: Final = ("conv", "charset", "client_flag", "autocommit", "use_unicode", "sql_mode")
#: what begins a transaction of SQLite that waits for others
_WRITING: Final = frozenset({"IMMEDIATE", "EXCLUSIVE"})
#: what mysqlclient takes as `ssl_mode` -> what PyMySQL takes
_SSL_MODES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "DISABLED": {"ssl_disabled": True},
        "PREFERRED": {},
        "REQUIRED": {"ssl": {"check_hostname": False}},
        "VERIFY_CA": {"ssl_verify_cert": True},
        "VERIFY_IDENTITY": {"ssl_verify_cert": True, "ssl_verify_identity": True},
    }
)


class OfSite:
    """What messages say of a database of the site."""

    or_else = ""

    def __init__(self, alias: str = "default") -> None:
        self.alias = alias
        self.setting = f"DATABASES[{alias!r}]"
        database = "" if alias == "default" else f" --database {alias}"
        self.init = f"python manage.py migrate{database}"

    def made(self) -> BaseDatabaseWrapper:
        """Return a connection of Django's that is not opened and that nobody else has."""
        return connections.create_connection(self.alias)

    def own(self, error: Exception) -> Exception:
        """Return an error of the site's driver as one of ours."""
        return error

    def parameters(self, wrapper: BaseDatabaseWrapper) -> dict[str, Any]:
        """Return the parameters of the driver's `connect`, read anew: a password may have changed.

        Raises:
            BackendRejected: the settings are incomplete.
        """
        try:
            return dict(wrapper.get_connection_params())
        except ImproperlyConfigured as exc:
            raise BackendRejected(f"{self.setting} is incomplete: {exc}") from exc


class OrmPostgreSql(OfSite, PostgreSql):
    """PostgreSQL by psycopg."""

    def connect(self, address: Address) -> Connection:
        """Open a connection; each statement is a transaction of its own unless one is begun."""
        wrapper = self.made()
        keywords = {"connect_timeout": round(address.settings.connect_timeout), **self.parameters(wrapper)}
        for name in _OF_DJANGO:
            keywords.pop(name, None)
        connection = super().connect(attrs.evolve(address, keywords=keywords))
        role = wrapper.settings_dict["OPTIONS"].get("assume_role")
        if role:
            try:
                connection.execute("SELECT set_config('role', %s, false)", [role])
            except self.error:
                connection.close()
                raise
        return connection


class OrmMariaDb(OfSite, MariaDb):
    """MariaDB or MySQL by PyMySQL, whatever driver the site uses."""

    def own(self, error: Exception) -> Exception:
        """Return an error of mysqlclient as that of PyMySQL, which has the same name and number."""
        if isinstance(error, self.error):
            return error
        found: Any = getattr(pymysql, type(error).__name__, None)
        known = isinstance(found, type) and issubclass(found, self.error)
        return found(*error.args) if known else error

    def connect(self, address: Address) -> Raw:
        """Open a connection; each statement is a transaction of its own unless one is begun."""
        keywords = {"connect_timeout": round(address.settings.connect_timeout)}
        keywords |= self.parameters(self.made())
        for name in _SET_BY_US:
            keywords.pop(name, None)
        mode = str(keywords.pop("ssl_mode", "PREFERRED")).upper()
        if mode not in _SSL_MODES:
            raise BackendRejected(
                f"{self.setting} has the ssl_mode {mode!r}; choose from {', '.join(_SSL_MODES)}"
            )
        try:
            return super().connect(attrs.evolve(address, keywords={**_SSL_MODES[mode], **keywords}))
        except TypeError as exc:
            raise BackendRejected(
                f"{self.setting} has OPTIONS that PyMySQL does not take, by which workers connect: {exc}"
            ) from exc


class OrmSqlite(OfSite, Sqlite):
    """SQLite by the standard library."""

    def connect(self, address: Address) -> Raw:
        """Open the file; each statement is a transaction of its own unless one is begun."""
        wrapper = self.made()
        parameters = self.parameters(wrapper)
        if wrapper.is_in_memory_db():
            raise BackendRejected(
                f"{self.setting} is in the memory of a process, which no cluster can see; name a file"
            )
        connection: sqlite3.Connection = wrapper.get_new_connection(parameters)
        connection.isolation_level = None
        with closing(connection.cursor()) as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {round(1000 * address.settings.timeout)}")
        return connection

    def check(self, cursor: Cursor, title: str) -> str:
        """Return what the doctor says about it, and which options the site lacks."""
        options = connections.settings[self.alias].get("OPTIONS", {})
        lacking = []
        if str(options.get("transaction_mode")).upper() not in _WRITING:
            lacking.append("`transaction_mode` IMMEDIATE, without which the site may find the file locked")
        cursor.execute("PRAGMA journal_mode")
        if cursor.fetchall()[0][0] != "wal":
            lacking.append("`init_command` PRAGMA journal_mode = WAL, without which readers delay writers")
        said = super().check(cursor, title)
        return f"{said}; {self.setting} lacks {' and '.join(lacking)}" if lacking else said


#: kind of a database, as Django calls it -> how we connect to it
KINDS: Final[Mapping[str, Any]] = MappingProxyType(
    {"postgresql": OrmPostgreSql, "mysql": OrmMariaDb, "sqlite": OrmSqlite}
)
